"""Models of Hugging Face's `transformers` from small configurations, with random weights: no hub is asked."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.breadth.architecture import SAMPLES, Architecture

__all__ = ["TRANSFORMERS"]

_PACKAGES = ("transformers==5.24.0", "huggingface-hub==2.4.0", "tokenizers==0.23.3", "regex==2026.11.19",
             "tqdm==4.70.1", "httpx2==2.16.2", "httpcore2==2.16.2", "truststore==0.10.5")  # fmt: skip
_LENGTH, _VOCABULARY = 16, 120

Inputs = Mapping[str, Callable[[], Tensor]]


class _Called(nn.Module):
    """Takes tensors by position, and gives one tensor of all that the model gives."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], gives: str, fixed: Mapping[str, object]) -> None:
        super().__init__()
        self.model, self.names, self.gives, self.fixed = model, names, gives, dict(fixed)

    def forward(self, *inputs: Tensor) -> Tensor:
        outputs = self.model(**dict(zip(self.names, inputs, strict=True)), **self.fixed, return_dict=True)
        return outputs[self.gives]  # type: ignore[no-any-return]


def _model(
    kind: str,
    family: str,
    inputs: Inputs,
    gives: str = "logits",
    fixed: Mapping[str, object] | None = None,
    stepwise: bool = False,
    **settings: Any,
) -> Architecture:
    """One class of `transformers`.

    Args:
        kind: its name there.
        gives: the tensor that is taken of its outputs.
        fixed: other arguments of its call.
        settings: those of its configuration that are not the default's.
    """

    def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
        made = getattr(importlib.import_module("transformers"), kind)
        samples = tuple(make() for make in inputs.values())
        called = _Called(made(made.config_class(**settings)), tuple(inputs), gives, fixed or {})
        return called, samples

    return Architecture(f"transformers-{kind}", family, _PACKAGES, build, stepwise=stepwise)


def _tokens(length: int = _LENGTH, vocabulary: int = _VOCABULARY) -> Tensor:
    return torch.randint(3, vocabulary, (SAMPLES, length))


def _padding() -> Tensor:
    """1 for what is there: at least half of each sample."""
    return (torch.arange(_LENGTH) < torch.randint(_LENGTH // 2, _LENGTH + 1, (SAMPLES, 1))).long()


def _boxes() -> Tensor:
    """Left, top, right and bottom of each token."""
    return torch.randint(0, 60, (SAMPLES, _LENGTH, 4)).sort(-1).values


def _cells() -> Tensor:
    """Where in a table each token stands, as seven small numbers."""
    return torch.randint(0, 2, (SAMPLES, _LENGTH, 7))


def _all_seen() -> Tensor:
    return torch.ones(SAMPLES, 15)


def _noise(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(SAMPLES, *shape)


_SIZE: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_TEXT: dict[str, Any] = {**_SIZE, "vocab_size": _VOCABULARY, "max_position_embeddings": 64}
_GROUPED: dict[str, Any] = {**_TEXT, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0}
_GPT: dict[str, Any] = {"vocab_size": _VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
_PAIR: dict[str, Any] = {
    "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": _VOCABULARY, "max_position_embeddings": 64,
}  # fmt: skip
_WAVES: dict[str, Any] = {
    **_SIZE, "conv_dim": (32, 32, 32), "conv_kernel": (10, 3, 3), "conv_stride": (5, 2, 2), "vocab_size": 32,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
_IMAGES: dict[str, Any] = {**_SIZE, "image_size": 32, "patch_size": 8}
_MASKED: Inputs = {"input_ids": _tokens, "attention_mask": _padding}
_PLAIN: Inputs = {"input_ids": _tokens}
_BOTH: Inputs = {"input_ids": _tokens, "decoder_input_ids": lambda: _tokens(12)}
_WAVE: Inputs = {"input_values": _noise(800)}
_NO_CACHE = {"use_cache": False}


def _encoder(kind: str, **settings: Any) -> Architecture:
    """Text with padding to classes."""
    return _model(f"{kind}ForSequenceClassification", "text encoders", _MASKED, **settings)


def _decoder(kind: str, **settings: Any) -> Architecture:
    """Text to the next token at each place."""
    return _model(kind, "text decoders", _PLAIN, fixed=_NO_CACHE, stepwise=True, **settings)


def _speech(kind: str, **settings: Any) -> Architecture:
    """Sound to characters."""
    return _model(f"{kind}ForCTC", "speech", _WAVE, **{**_WAVES, **settings})


TRANSFORMERS: tuple[Architecture, ...] = (
    _encoder("Bert", **_TEXT),
    _encoder("DistilBert", vocab_size=_VOCABULARY, dim=64, n_layers=2, n_heads=4, hidden_dim=128,
             max_position_embeddings=64),
    _encoder("Roberta", **_TEXT),
    _encoder("Albert", **_TEXT, embedding_size=32),
    _encoder("Electra", **_TEXT, embedding_size=32),
    _encoder("MobileBert", **{**_TEXT, "hidden_size": 128}, embedding_size=64, intra_bottleneck_size=64),
    _encoder("SqueezeBert", **_TEXT, embedding_size=64),
    _encoder("DebertaV2", **_TEXT, relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=16,
             norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False),
    _encoder("MPNet", **_TEXT),
    _encoder("XLNet", vocab_size=_VOCABULARY, d_model=64, n_layer=2, n_head=4, d_inner=128),
    _encoder("Funnel", vocab_size=_VOCABULARY, block_sizes=[1, 1], d_model=64, n_head=4, d_head=16, d_inner=128),
    _encoder("ConvBert", **_TEXT, embedding_size=64),
    _encoder("RoFormer", **_TEXT, embedding_size=64),
    _encoder("ModernBert", **_TEXT, pad_token_id=0),
    _encoder("Esm", **_TEXT, pad_token_id=0, mask_token_id=2, position_embedding_type="rotary", token_dropout=False),
    _model("FNetForSequenceClassification", "text encoders", _PLAIN, vocab_size=_VOCABULARY, hidden_size=64,
           num_hidden_layers=2, intermediate_size=128, max_position_embeddings=64),
    _model("BertModel", "text encoders", _MASKED, "last_hidden_state", **_TEXT),
    _model("TapasModel", "text encoders", {**_MASKED, "token_type_ids": _cells},
           "last_hidden_state", **_TEXT, type_vocab_sizes=[3, 8, 8, 2, 8, 8, 3]),
    _model("LayoutLMForSequenceClassification", "text encoders", {"input_ids": _tokens, "bbox": _boxes}, **_TEXT,
           max_2d_position_embeddings=64),
    _model("PerceiverModel", "text encoders", {"inputs": _noise(_LENGTH, 32)}, "last_hidden_state", num_latents=8,
           d_latents=64, d_model=32, num_blocks=1, num_self_attends_per_block=2, num_self_attention_heads=4,
           num_cross_attention_heads=4),
    _decoder("GPT2LMHeadModel", **_GPT),
    _decoder("GPTNeoXForCausalLM", **_TEXT),
    _decoder("GPTJForCausalLM", **_GPT, rotary_dim=8),
    _decoder("OPTForCausalLM", **{**_TEXT, "word_embed_proj_dim": 64, "ffn_dim": 128}),
    _decoder("LlamaForCausalLM", **_GROUPED),
    _decoder("MistralForCausalLM", **_GROUPED, sliding_window=8),
    _decoder("Qwen2ForCausalLM", **_GROUPED),
    _decoder("Qwen3ForCausalLM", **_GROUPED),
    _decoder("Gemma2ForCausalLM", **_GROUPED, sliding_window=8),
    _decoder("Phi3ForCausalLM", **_GROUPED),
    _decoder("FalconForCausalLM", vocab_size=_VOCABULARY, hidden_size=64, num_hidden_layers=2, num_attention_heads=4),
    _decoder("BloomForCausalLM", vocab_size=_VOCABULARY, hidden_size=64, n_layer=2, n_head=4),
    _decoder("MambaForCausalLM", vocab_size=_VOCABULARY, hidden_size=64, num_hidden_layers=2, state_size=8),
    _decoder("RecurrentGemmaForCausalLM", **_GROUPED, lru_width=64, attention_window_size=8),
    _model("T5EncoderModel", "encoders with decoders", _MASKED, "last_hidden_state", vocab_size=_VOCABULARY, d_model=64,
           d_kv=16, d_ff=128, num_layers=2, num_heads=4),
    _model("T5ForConditionalGeneration", "encoders with decoders", _BOTH, fixed=_NO_CACHE, vocab_size=_VOCABULARY,
           d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4),
    _model("BartForConditionalGeneration", "encoders with decoders", _BOTH, fixed=_NO_CACHE, **_PAIR),
    _model("WhisperForConditionalGeneration", "speech",
           {"input_features": _noise(40, 64), "decoder_input_ids": lambda: _tokens(8)}, fixed=_NO_CACHE,
           **_PAIR, num_mel_bins=40, max_source_positions=32, max_target_positions=32, pad_token_id=0, bos_token_id=1,
           eos_token_id=2, decoder_start_token_id=1),
    _speech("Wav2Vec2"),
    _speech("Hubert", feat_extract_norm="layer", do_stable_layer_norm=True),
    _speech("WavLM"),
    _speech("SEW", squeeze_factor=2),
    _speech("Wav2Vec2Conformer", conv_depthwise_kernel_size=7, position_embeddings_type="relative"),
    _model("ASTForAudioClassification", "speech", {"input_values": _noise(64, 32)}, **_SIZE, num_mel_bins=32,
           max_length=64, frequency_stride=16, time_stride=16),
    _model("CLIPTextModelWithProjection", "text and images", _MASKED, "text_embeds", **_TEXT, projection_dim=32,
           eos_token_id=2),
    _model("CLIPVisionModelWithProjection", "text and images", {"pixel_values": _noise(3, 32, 32)}, "image_embeds",
           **_IMAGES, projection_dim=32),
    _model("SiglipVisionModel", "text and images", {"pixel_values": _noise(3, 32, 32)}, "pooler_output", **_IMAGES),
    _model("ViTForImageClassification", "text and images", {"pixel_values": _noise(3, 32, 32)}, **_IMAGES),
    _model("PatchTSTForPrediction", "series", {"past_values": _noise(32, 3)}, "prediction_outputs",
           num_input_channels=3, context_length=32, patch_length=8, patch_stride=8, d_model=64, num_hidden_layers=2,
           num_attention_heads=4, ffn_dim=128, prediction_length=8),
    _model("TimeSeriesTransformerModel", "series",
           {"past_values": _noise(15), "past_time_features": _noise(15, 2), "past_observed_mask": _all_seen,
            "future_values": _noise(4), "future_time_features": _noise(4, 2)}, "last_hidden_state", fixed=_NO_CACHE,
           prediction_length=4, context_length=12, lags_sequence=[1, 2, 3], num_time_features=2, d_model=32,
           encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64, input_size=1),
)  # fmt: skip
