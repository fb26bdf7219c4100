"""DPR's two encoders: their making, their training with in-batch and hard negatives, and their vectors."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DPRConfig, DPRContextEncoder, DPRQuestionEncoder

from training.dense_retrieval.negatives import Negatives
from training.dense_retrieval.questions import QuestionMaker
from training.dense_retrieval.tokens import PAD, Passages, Vocabulary, padded

LONGEST_QUESTION = 32


@dataclass(frozen=True)
class Shape:
    """How large an encoder is."""

    layers: int = 1
    hidden: int = 256
    intermediate: int = 512
    heads: int = 4
    longest: int = 64

    def config(self, vocabulary: int) -> DPRConfig:
        """The config of DPR's classes; matrices start so that a layer keeps the scale of what goes through it."""
        return DPRConfig(
            vocab_size=vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.intermediate,
            max_position_embeddings=self.longest,
            initializer_range=self.hidden**-0.5,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=PAD,
        )


@dataclass
class BiEncoder:
    """Both encoders; the passages' begins as a copy of the questions', and both as bags of words."""

    question: DPRQuestionEncoder
    passage: DPRContextEncoder

    @classmethod
    def new(cls, config: DPRConfig) -> BiEncoder:
        """Two encoders with the same random weights."""
        question, passage = DPRQuestionEncoder(config), DPRContextEncoder(copy.deepcopy(config))
        embeddings = question.question_encoder.bert_model.embeddings
        nn.init.zeros_(embeddings.position_embeddings.weight)
        nn.init.zeros_(embeddings.token_type_embeddings.weight)
        passage.ctx_encoder.load_state_dict(question.question_encoder.state_dict())
        return cls(question, passage)

    @property
    def modules(self) -> nn.ModuleDict:
        """Both, for optimisers and checkpoints."""
        return nn.ModuleDict({"question": self.question, "passage": self.passage})


@dataclass(frozen=True)
class Batch:
    """Questions and the passages that they are compared with.

    Attributes:
        questions: (B) rows of ids.
        passages: (P) rows of ids, no passage twice, and how long the first segment of each is.
        first: how long the first segment of each passage is.
        right: (B) the place of each question's passage.
    """

    questions: list[list[int]]
    passages: list[list[int]]
    first: list[int]
    right: Tensor


@dataclass(frozen=True)
class Training:
    """The options of a run."""

    steps: int = 800
    batch_size: int = 1024
    negatives: int = 1
    lr: float = 2e-3
    seed: int = 0


@dataclass(frozen=True)
class Batches:
    """Batches of a step, which depend on its number and the seed alone."""

    maker: QuestionMaker
    vocabulary: Vocabulary
    passages: Passages
    train: np.ndarray
    negatives: Negatives | None
    options: Training

    def batch(self, step: int) -> Batch:
        """One question for each of a random part of the training synsets; an epoch asks about each once."""
        size, epoch_steps = self.options.batch_size, max(1, len(self.train) // self.options.batch_size)
        epoch, place = divmod(step, epoch_steps)
        order = np.random.default_rng([self.options.seed, 2, epoch]).permutation(len(self.train))
        chosen = order[place * size : (place + 1) * size]
        rng = np.random.default_rng([self.options.seed, 3, step])
        synsets = self.maker.wordnet.synsets
        texts = [self.maker.ask(synsets[self.train[i]], rng).text for i in chosen]
        wanted = self.train[chosen].tolist()
        if self.negatives is not None:
            wanted += self.negatives.draw(chosen, self.options.negatives, rng)
        unique = list(dict.fromkeys(wanted))
        rows = [self.passages.row(i) for i in unique]
        return Batch(
            [self.vocabulary.question(text, LONGEST_QUESTION) for text in texts],
            [row for row, _ in rows],
            [first for _, first in rows],
            torch.arange(len(chosen)),
        )


def train(model: BiEncoder, batches: Batches, *, until: int, checkpoint: Path) -> Iterator[int]:
    """Train in place, going on from the checkpoint if there is one.

    Args:
        model: what is trained.
        batches: by their step.
        until: the step to end at, of the `steps` that the learning rate's course is made for.
        checkpoint: written every two minutes.

    Yields:
        The number of steps taken, whenever the checkpoint has been written.
    """
    options, modules = batches.options, model.modules
    optimizer = torch.optim.AdamW(modules.parameters(), lr=options.lr, weight_decay=0.01, betas=(0.9, 0.98))
    step, smooth = load_checkpoint(checkpoint, modules, optimizer), 0.0
    began = saved = time.monotonic()
    modules.train()
    while step < until:
        for group in optimizer.param_groups:
            group["lr"] = options.lr * rate(step, options.steps)
        value = loss(model, batches.batch(step))
        value.backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        smooth = value.item() if smooth == 0.0 else 0.95 * smooth + 0.05 * value.item()
        if step % 20 == 0:
            print(f"step {step} loss {smooth:.3f} {time.monotonic() - began:.0f}s", flush=True)
        if time.monotonic() - saved > 120 or step == until:
            save_checkpoint(checkpoint, modules, optimizer, step)
            saved = time.monotonic()
            yield step


def loss(model: BiEncoder, batch: Batch) -> Tensor:
    """The cross-entropy of each question's passage among all passages of the batch (Karpukhin et al. 2020, eq. 2).

    Inner products are divided by the root of the vectors' width, which changes no ranking.
    """
    questions = vectors(model.question, batch.questions, None)
    passages = vectors(model.passage, batch.passages, batch.first)
    with torch.autocast("cpu", torch.bfloat16):
        scores = (questions @ passages.T).float() / math.sqrt(questions.shape[1])
    return F.cross_entropy(scores, batch.right)


def vectors(
    encoder: nn.Module, rows: Sequence[Sequence[int]], first: Sequence[int] | None, *, parts: int = 3
) -> Tensor:
    """(B, D) float32, computed in parts of like lengths, so that little has to be padded."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    found = []
    for part in np.array_split(order, min(parts, len(order))):
        inputs = padded([rows[i] for i in part], None if first is None else [first[i] for i in part])
        with torch.autocast("cpu", torch.bfloat16):
            found.append(first_token(encoder, **inputs).float())
    back = torch.from_numpy(np.argsort(order, kind="stable"))
    return torch.cat(found)[back]


def first_token(encoder: nn.Module, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
    """(B, D): what DPR's classes call `pooler_output`, at a fraction of the cost.

    Of the last layer only the first token's row is computed, and its keys and values are never made: what the
    first token asks of a key is brought to the embeddings' side, and values are made of the weighted means.
    """
    bert = encoder.base_model.bert_model
    *earlier, last = bert.encoder.layer
    states = bert.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
    hidden = attention_mask[:, None, None] == 0
    for layer in earlier:
        states = layer(states, attention_mask=~hidden.expand(-1, 1, input_ids.shape[1], -1))
    own, first = last.attention.self, states[:, 0]
    heads, width = own.num_attention_heads, own.attention_head_size
    asked = torch.einsum("bnw,nwh->bnh", own.query(first).unflatten(1, (heads, width)),
                         own.key.weight.unflatten(0, (heads, width)))  # fmt: skip
    scores = asked @ states.transpose(1, 2) / math.sqrt(width)  # a key's bias adds the same to all
    means = scores.masked_fill(hidden[:, 0], -math.inf).softmax(2) @ states
    values = torch.einsum("bnh,nwh->bnw", means, own.value.weight.unflatten(0, (heads, width)))
    attended = last.attention.output(values.flatten(1) + own.value.bias, first)
    return last.output(last.intermediate(attended), attended)


@torch.inference_mode()
def encode(encoder: nn.Module, rows: Sequence[Sequence[int]], first: Sequence[int] | None = None) -> Tensor:
    """`vectors` of any number of rows, without gradients."""
    encoder.eval()
    order = np.argsort([len(row) for row in rows], kind="stable")
    found = []
    for part in np.array_split(order, max(1, len(order) // 512)):
        found.append(vectors(encoder, [rows[i] for i in part], first and [first[i] for i in part], parts=1))
    encoder.train()
    return torch.cat(found)[torch.from_numpy(np.argsort(order, kind="stable"))]


def encode_passages(encoder: DPRContextEncoder, passages: Passages) -> Tensor:
    """(N, D) float32 of all passages."""
    rows = [passages.row(i) for i in range(len(passages))]
    return encode(encoder, [row for row, _ in rows], [first for _, first in rows])


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: up for a twentieth of the run, then down to zero along a cosine."""
    rising = max(1, steps // 20)
    if step < rising:
        return (step + 1) / rising
    return 0.5 + 0.5 * math.cos(math.pi * (step - rising) / max(1, steps - rising))


def save_checkpoint(path: Path, modules: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write weights, the optimiser's state and the number of steps taken."""
    state = {"step": step, "model": modules.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def load_checkpoint(path: Path, modules: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Read what `save_checkpoint` wrote, and return the number of steps; 0 if there is no file."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    modules.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
