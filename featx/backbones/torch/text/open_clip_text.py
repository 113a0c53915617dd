"""Text towers of open_clip as graphs, with their tokenizers. Runs in child processes only."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import nn

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.backbones.openvino_import import import_openvino
from featx.backbones.torch.names import TorchName
from featx.backbones.torch.open_clip_library import create_model
from featx.backbones.torch.text.tokenizer import Tokenizer
from featx.errors import EngineError, WeightsNotFoundError, missing_dependency
from featx.system.formatting import first_line

#: Cleaning by the name of the function that does it in open_clip.
_CLEANING = {"_clean_lower": "lower", "_clean_whitespace": "whitespace", "_clean_canonicalize": "canonicalize"}
#: Texts on which a converted tokenizer must agree with the original: words, signs, numbers, scripts, and long texts.
_PROBES = (
    "a photo of a red car.",
    "A  Photo,\tof the 1990s (it's well-known): 50%!",
    "na\u00efve caf\u00e9 \u2019quoted\u2019 &amp; Stra\u00dfe",
    "\u732b\u306e\u5199\u771f \u0444\u043e\u0442\u043e \u0643\u0644\u0628 \U0001f600",
    "snake_case <start_of_text> e\u0301 \u00bd x\u00b2",
    "",
    "a long text about many things " * 40,
)


class _TextTower(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """A network from tokens to rows that are comparable with those of images."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Any) -> Any:
        return self.model.encode_text(tokens, normalize=False)


def build_graph(name: TorchName, weights_path: Path | None) -> Any:
    """Return the ``openvino.Model`` of a text tower, from tokens to rows, with its tokenizer.

    Parameters
    ----------
    name : TorchName
        Name of the network.
    weights_path : Path or None
        Path of the weights; None for random weights.
    """
    model = create_model(name, None, weights_path)
    original = _read_tokenizer(name)
    tokenizer = convert_tokenizer(original, name.text)
    n_tokens = int(original.context_length)
    tokens = torch.from_numpy(tokenizer.tokenize(["a photo"] * COMPILED_BATCH_SIZE))
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns about each shape that becomes a constant, which is meant
        graph = import_openvino().convert_model(_TextTower(model).eval(), example_input=tokens)
    graph.reshape([COMPILED_BATCH_SIZE, n_tokens])
    graph.set_rt_info(tokenizer.as_text(), ["featx", "tokenizer"])
    return graph


def _read_tokenizer(name: TorchName) -> Any:
    """Return the tokenizer of open_clip; that of SigLIP is a repository of the hub."""
    try:
        return open_clip.get_tokenizer(name.model)
    except ModuleNotFoundError as error:
        package = error.name or "transformers"
        raise missing_dependency(f"Text for backbone {name.text!r}", package, "'featx[clip]'") from error
    except Exception as error:  # the client of the hub and transformers raise many kinds
        raise WeightsNotFoundError(
            f"Cannot read the tokenizer of {name.text!r}, which is in a repository of the Hugging Face Hub: "
            f"{first_line(error).rstrip('.')}. Check the connection and the proxy, unset HF_HUB_OFFLINE, or copy the "
            "hub's folder (HF_HOME) from another machine."
        ) from error


def convert_tokenizer(original: Any, name: str) -> Tokenizer:
    """Return a tokenizer of open_clip in the format of the library tokenizers.

    Raises
    ------
    EngineError
        If it has another form, or the converted one gives other tokens.
    """
    converted = None
    cleaning = _CLEANING.get(getattr(getattr(original, "clean_fn", None), "__name__", ""), "")
    if isinstance(original, SimpleTokenizer) and original.reduction_fn is None and cleaning:
        converted = Tokenizer(_byte_pair_encoding(original), cleaning)
    elif isinstance(original, HFTokenizer) and not original.tokenizer_mode and cleaning:
        converted = _from_hugging_face(original, cleaning)
    if converted is None or not np.array_equal(converted.tokenize(_PROBES), original(list(_PROBES)).numpy()):
        raise EngineError(
            f"Cannot convert the tokenizer of {name!r}: the library tokenizers gives other tokens. Choose a network "
            "with another text tower, such as 'open_clip/ViT-B-32:laion2b_s34b_b79k'."
        )
    return converted


def _byte_pair_encoding(original: SimpleTokenizer) -> str:
    from tokenizers import Regex, models, pre_tokenizers, processors
    from tokenizers import Tokenizer as Library

    vocabulary = original.encoder
    merges = sorted(original.bpe_ranks, key=original.bpe_ranks.__getitem__)
    tokenizer: Any = Library(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(f"(?i){original.pat.pattern}"), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = (original.decoder[token] for token in (original.sot_token_id, original.eot_token_id))
    tokenizer.add_special_tokens([start, end])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(token, vocabulary[token]) for token in (start, end)]
    )
    return _with_length(tokenizer, original.context_length, 0)


def _from_hugging_face(original: HFTokenizer, cleaning: str) -> Tokenizer:
    fast = original.tokenizer
    definition = _with_length(fast.backend_tokenizer, original.context_length, fast.pad_token_id)
    return Tokenizer(definition, cleaning, fast.sep_token_id if original.strip_sep_token else None)


def _with_length(tokenizer: Any, n_tokens: int, padding: int) -> str:
    tokenizer.enable_truncation(n_tokens)
    tokenizer.enable_padding(length=n_tokens, pad_id=padding)
    definition: str = tokenizer.to_str()
    return definition
