import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.acceptance.service import until
from tests.workers.measure.fakes import contender
from workers.measure.contender import ContenderFailed, loader_of

X = [np.arange(6, dtype=np.float32).reshape(3, 2)]


def test_it_loads_prepares_and_times_calls(tmp_path: Path) -> None:
    with contender(tmp_path) as one:
        assert one.load(30) > 0
        one.prepare(X, 30)
        assert len(one.round(calls=5, untimed=1, limit=30)) == 5
        memory = one.peak_memory()
    assert memory is not None
    assert memory > 5_000_000


def test_untimed_calls_come_before_the_timed_ones(tmp_path: Path) -> None:
    body = "import time; time.sleep(0.2 if CALLS == 1 else 0)"
    with contender(tmp_path, body) as one:
        one.load(30)
        one.prepare(X, 30)
        assert max(one.round(calls=2, untimed=1, limit=30)) < 0.2


def test_check_returns_the_outputs_of_the_first_call(tmp_path: Path) -> None:
    with contender(tmp_path, "y = y + CALLS") as one:
        one.load(30)
        outputs, calls = one.check(X, 3, 30)
    np.testing.assert_array_equal(outputs[0], 2 * X[0] + 1)
    assert [call["identical"] for call in calls] == [True, False, False]


@pytest.mark.parametrize("package", ["burnish", "workers", "storage", "api", "burnish.recipe"])
def test_an_artifact_that_needs_burnish_fails_even_where_burnish_is_installed(tmp_path: Path, package: str) -> None:
    with (
        contender(tmp_path, load=f"import {package}") as one,
        pytest.raises(ContenderFailed, match=f"blocked import of '{package.partition('.')[0]}'"),
    ):
        one.load(30)


def test_an_artifact_may_not_import_what_made_it(tmp_path: Path) -> None:
    with (
        contender(tmp_path, load="import torchao", blocked=("torchao",)) as one,
        pytest.raises(ContenderFailed, match="blocked import of 'torchao'"),
    ):
        one.load(30)


def test_folders_named_like_ours_and_python_variables_are_not_picked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('picked up')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with contender(tmp_path) as one:
        one.load(30)


def test_nothing_of_the_environment_reaches_it_but_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    load = "assert 'AWS_SECRET_ACCESS_KEY' not in os.environ and os.environ['OMP_NUM_THREADS'] == '1'"
    with contender(tmp_path, load=load) as one:
        one.load(30)


def test_no_compiler_is_in_reach_of_an_artifact(tmp_path: Path) -> None:
    with contender(tmp_path, load="import shutil; assert shutil.which('sh') is None") as one:
        one.load(30)


def test_it_is_bound_to_the_cores_given_with_all_its_threads(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    load = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    body = (
        "every = [os.sched_getaffinity(int(t)) for t in os.listdir('/proc/self/task')];"
        f"y = y * 0 + (len(every) > 1 and all(cores == {{{{{core}}}}} for cores in every))"
    )
    with contender(tmp_path, body.replace("{{", "{").replace("}}", "}"), load) as one:
        one.load(30)
        one.pin([core])
        outputs, _ = one.check(X, 1, 30)
    assert outputs[0].all()


def test_a_crash_is_told_with_its_signal(tmp_path: Path) -> None:
    with contender(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)") as one:
        one.load(30)
        with pytest.raises(ContenderFailed, match="was ended by SIGSEGV at check"):
            one.check(X, 3, 30)
        with pytest.raises(ContenderFailed, match="SIGSEGV"):
            one.check(X, 3, 30)


def test_an_exit_is_told_with_what_was_printed(tmp_path: Path) -> None:
    with (
        contender(tmp_path, load="print('no such model'); sys.stdout.flush(); os._exit(3)") as one,
        pytest.raises(ContenderFailed, match=r"exited with status 3 at load \(no such model\)"),
    ):
        one.load(30)


def test_what_a_runtime_prints_does_not_disturb_the_replies(tmp_path: Path) -> None:
    with contender(tmp_path, "print('{', flush=True); os.write(1, b'noise')") as one:
        one.load(30)
        outputs, _ = one.check(X, 2, 30)
    np.testing.assert_array_equal(outputs[0], 2 * X[0])


def test_an_exception_of_the_runtime_is_told_and_the_process_goes_on(tmp_path: Path) -> None:
    with contender(tmp_path, "assert len(x) != 7, 'batch 7'") as one:
        one.load(30)
        with pytest.raises(ContenderFailed, match="check failed with AssertionError: batch 7"):
            one.check([np.zeros((7, 2), np.float32)], 1, 30)
        one.check(X, 1, 30)


def test_a_call_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    with contender(tmp_path, load="import threading; threading.Event().wait()") as one:
        with pytest.raises(ContenderFailed, match="load took longer than 0 s"):
            one.load(0.3)
        with pytest.raises(ContenderFailed, match="SIGKILL"):
            one.load(30)


def test_the_artifact_is_loaded_under_the_name_given(tmp_path: Path) -> None:
    load = "assert path.endswith('model.bin') and open(path, 'rb').read() == b'data'"
    with contender(tmp_path, load=load) as one:
        one.load(30)


def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from tests.workers.measure.fakes import contender;"
        f'one = contender(Path({str(tmp_path)!r}), load=\'open(path + ".pid", "w").write(str(os.getpid()))\');'
        "one.load(30); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", program], cwd=root, check=False)
    assert ended.returncode == -signal.SIGKILL
    pid = int((tmp_path / "contender" / "model.bin.pid").read_text())
    until(lambda: _is_dead(pid))  # the kernel kills it in the same moment, and a busy machine takes a while to end it


def _is_dead(pid: int) -> bool:
    """Gone, or dead and not reaped yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state.rpartition(")")[2].split()[0] in "ZX"


@pytest.mark.parametrize("backend", ["eager", "compiled", "inductor", "onnxruntime"])
def test_every_backend_has_a_loader(backend: str) -> None:
    assert loader_of(backend).is_file()
