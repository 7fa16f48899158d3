"""Walks a windowed program and writes the program of one step, with the state it carries.

1. Every tensor that depends on the inputs is `Timed` (one entry per step along an axis) or `Last` (of the last step).
   An operator that keeps steps apart is copied, and sees one step; `step_rules.py` says which do, and where the axis
   goes. One that mixes steps is refused, unless it is one of rules 2 to 4.
2. A recurrent layer becomes its cell, carrying its state (`step_recurrent.py`).
3. Causal attention keeps all keys and values so far in buffers (`step_attention.py`).
4. A constant that differs from step to step (positional tables, the rotations of rotary embeddings) is evaluated for
   the longest sequence, and read at the position, which is carried and counted.
5. Other constants are copied with the operators that make them, so that low-bit weights stay what they are.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from workers.calling import CarriedTensor, StateContract, StepInput, StepOutput
from workers.graphs.fixed_values import fixed_nodes, is_length_free, mapped
from workers.graphs.reexport import dimensions
from workers.graphs.step_values import Last, Timed, Value
from workers.graphs.stored_values import stored_tensor
from workers.graphs.window import CantCarry, Window

__all__ = ["StepBuilder"]

aten = torch.ops.aten


class StepBuilder:
    """The program of one step while it is written.

    Attributes:
        window: the program it is made from.
        graph: what is written.
        fixed: nodes of the source that depend on no input.
        values: what the other nodes became.
    """

    def __init__(self, window: Window) -> None:
        self.window = window
        self.graph = Graph()
        self.fixed = fixed_nodes(window.module)
        self.values: dict[Node, Value] = {}
        self._tensors: dict[str, torch.Tensor] = {}
        self._plain: dict[Node, Node] = {}
        self._tables: dict[tuple[Node, int], Node] = {}
        self._states: list[CarriedTensor] = []
        self._carried: list[Node] = []
        self._next: dict[Node, Node] = {}
        self._examples: list[torch.Tensor] = []
        self._position: Node | None = None
        for node in window.inputs:
            self.values[node] = Timed(self._input(str(node.target), node.meta["val"]), window.axis)

    def call(self, operator: Any, *args: Any, **kwargs: Any) -> Node:
        """Writes a call."""
        return self.graph.call_function(operator, args, kwargs)

    def copy(self, node: Node, args: Any = None) -> Node:
        """Writes the source's call, with what its arguments became (or with `args`)."""
        given, kwargs = mapped(node, self.became)
        assert callable(node.target)
        return self.graph.call_function(node.target, given if args is None else map_arg(args, self.became), kwargs)

    def became(self, node: Node) -> Node:
        """The tensor or size that a node of the source became."""
        if node in self.fixed:
            return self.plain(node)
        value = self.values.get(node, node)
        if isinstance(value, Timed | Last):
            return value.node
        raise CantCarry(f"`{node.name}` reads several tensors at once, and there is no rule for that.")

    def plain(self, node: Node) -> Node:
        """A fixed node, copied with all it is made of."""
        if node not in self._plain:
            if not is_length_free(node, self.window.length):
                raise CantCarry(
                    f"`{node.name}` depends on the length of the window, which a single step does not know. Export the "
                    "model with a fixed length."
                )
            if node.op == "get_attr":
                self._plain[node] = self.constant(str(node.target), stored_tensor(self.window.module, node))
            elif node.target is aten.sym_size.int:
                self._plain[node] = self.size(node.meta["val"])
            else:
                assert callable(node.target)
                self._plain[node] = self.graph.call_function(node.target, *mapped(node, self.plain))
        return self._plain[node]

    def size(self, side: torch.SymInt) -> Node:
        """A size that is the batch, or a multiple of it."""
        times = side.node.expr / self.window.batch
        if not times.is_Integer:
            raise CantCarry(
                f"A tensor has the size {side.node.expr}, which is neither fixed nor a multiple of the batch."
            )
        first = next(each for each in self.graph.nodes if each.op == "placeholder")
        batch = self.call(aten.sym_size.int, first, 0)
        return batch if times == 1 else self.call(operator.mul, batch, int(times))

    def constant(self, name: str, tensor: torch.Tensor) -> Node:
        """A weight or a table of the step's program."""
        self._tensors[name] = tensor
        return self.graph.get_attr(name)

    def table(self, node: Node, axis: int) -> Node:
        """The entry at the position of a fixed node that has one per position along `axis`; the axis has length 1."""
        if (node, axis) not in self._tables:
            table = self.window.table(node, axis).contiguous()
            stored = self.constant(f"{node.name}_by_position_{axis}", table)
            self._tables[node, axis] = self.call(aten.index_select.default, stored, axis, self.position)
        return self._tables[node, axis]

    def is_table(self, node: Node, axis: int) -> bool:
        """True if a fixed node has one entry per step along `axis`."""
        return node in self.fixed and self.window.is_length(dimensions(node.meta["val"])[axis])

    @property
    def position(self) -> Node:
        """How many steps came before: an int64 tensor of shape (1,).

        The state has one number per sample, so that the batch is the first dimension of it as of all inputs; all are
        equal, since the samples of a batch go on together, and the first one is read.
        """
        if self._position is None:
            state = self.state("position", (self.window.batch,), torch.int64)
            self.carry(state, self.call(aten.add.Tensor, state, 1))
            self._position = self.call(aten.unsqueeze.default, self.call(aten.select.int, state, 0, 0), 0)
        return self._position

    def state(self, what: str, shape: tuple[Any, ...], dtype: torch.dtype) -> Node:
        """A tensor of the state as the step finds it; `carry` must say what it becomes.

        Args:
            shape: numbers, and the symbol of the batch where it is dynamic.
        """
        sizes = [self._side(side) for side in shape]
        name = f"state_{len(self._states)}_{what}"
        taken = {str(node.target) for node in self.window.inputs}
        name = next(each for each in (name, f"carried_{name}", f"carried_in_{name}") if each not in taken)
        self._states.append(CarriedTensor(name=name, shape=tuple(sizes), dtype=str(dtype).removeprefix("torch.")))
        self._carried.append(self._placeholder(name, sizes, dtype))
        return self._carried[-1]

    def carry(self, state: Node, node: Node) -> None:
        """What a tensor of the state becomes by this step."""
        self._next[state] = node

    def finish(self, source: ExportedProgram, outputs: list[Node]) -> tuple[ExportedProgram, StateContract]:
        """Exports what was written.

        Args:
            source: the windowed program, whose range of the batch is kept.
            outputs: the source's outputs.
        """
        values = [self._output(index, node) for index, node in enumerate(outputs)]
        if not self._states:
            raise CantCarry(
                "It keeps its steps apart already, so there is no state to carry: call it with a window of one step."
            )
        self.graph.output((*(value.node for value in values), *(self._next[state] for state in self._carried)))
        self.graph.eliminate_dead_code()
        contract = StateContract(
            inputs=tuple(StepInput(name=str(node.target), axis=self.window.axis) for node in self.window.inputs),
            states=tuple(self._states),
            outputs=tuple(StepOutput(axis=value.axis if isinstance(value, Timed) else None) for value in values),
            most_steps=self.window.most_steps if self._position is not None else None,
        )
        return self._exported(source), contract

    def _exported(self, source: ExportedProgram) -> ExportedProgram:
        module = GraphModule(self._tensors, self.graph)
        shapes: list[dict[int, Any]] = [{} for _ in self._examples]
        if not isinstance(self.window.batch, int):
            bounds = source.range_constraints.get(self.window.batch)
            upper = int(bounds.upper) if bounds is not None and bounds.upper.is_Integer else None
            batch = Dim("batch", min=1, max=upper if upper is not None and upper < 2**62 else None)
            axes: list[tuple[int, ...]] = [(0,)] * len(self.window.inputs)
            axes += [tuple(axis for axis, side in enumerate(state.shape) if side is None) for state in self._states]
            shapes = [dict.fromkeys(each, batch) for each in axes]
        with torch.no_grad():
            return torch.export.export(module, tuple(self._examples), dynamic_shapes=tuple(shapes))

    def _output(self, index: int, node: Node) -> Timed | Last:
        value = self.values.get(node)
        if isinstance(value, Timed) and value.inner is None and value.axis > 0:
            return value
        if isinstance(value, Last):
            return value
        raise CantCarry(
            f"Its output {index} is neither one entry per step nor that of the last step. Export a model that gives "
            "either."
        )

    def _input(self, name: str, value: torch.Tensor) -> Node:
        sizes = [self._side(side) for side in dimensions(value)[: self.window.axis]] + [1]
        sizes += [self._side(side) for side in dimensions(value)[self.window.axis + 1 :]]
        return self._placeholder(name, sizes, value.dtype)

    def _placeholder(self, name: str, sizes: list[int | None], dtype: torch.dtype) -> Node:
        """A new input behind those there are; its example has a batch of 2, which `torch.export` takes for dynamic."""
        self._examples.append(torch.zeros([2 if side is None else side for side in sizes], dtype=dtype))
        every = [node for node in self.graph.nodes if node.op == "placeholder"]
        if not every:
            return self.graph.placeholder(name)
        with self.graph.inserting_after(every[-1]):
            return self.graph.placeholder(name)

    def _side(self, side: Any) -> int | None:
        """A number, or `None` for the batch."""
        expression = side if isinstance(side, int) else getattr(getattr(side, "node", None), "expr", side)
        if isinstance(expression, int):
            return expression
        if expression == self.window.batch:
            return None
        raise CantCarry(
            f"A tensor of the state would have a dimension of size {expression}, which is neither fixed nor the batch. "
            "Export the model with the batch as dimension 0, and other sizes fixed."
        )
