"""The code in README.md, CONTRIBUTING.md and docs/, run: what a page shows is what happens.

A page's `python` and `sh` blocks run in order, in one namespace, in a folder that holds `examples` and `docs`. What a
page shows as output is compared with what comes out: a comment after a `print(…)` is what that line prints, and a
`text` block is what the block before it prints besides. Nothing may be printed that is not shown.

An HTML comment on the line above a block says more of it:

    <!-- hub -->            it needs the Hub; it runs against a local one with stand-ins of the same sizes
    <!-- file: PATH -->     the content of a file of the project that is only run by a test of its own
    <!-- not run: WHY -->   it is only read; for shell commands that install or that take a GPU

`python -m tests.pages` puts the real outputs into the pages, where they differ from what is shown.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.hub_server import HubServer

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

TOLERANCE = 0.02
"""How far a number with a decimal point may be from the one shown, absolutely or relatively: the drift that bfloat16
is allowed, so that pages made where "auto" is bfloat16 hold where it is float32. Whole numbers are exact. `…` in what
is shown stands for anything."""

NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?|-?\d+e[+-]?\d+")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOTE = re.compile(r"<!-- (hub|file|not run)(?:: (.*?))? -->\n\Z")


@dataclass
class Block:
    """A fenced block.

    Attributes:
        language: what stands after the fence.
        text: what it holds.
        start: where `text` begins in the page.
        line: the page's line of its first line, from 1.
        notes: the HTML comment above it, as name and text.
        output: the `text` block right after it, if there is one.
    """

    language: str
    text: str
    start: int
    line: int
    notes: dict[str, str]
    output: Block | None = None


@dataclass
class Shown:
    """Something that a page shows as output, and what came out; `start` and `end` are its place in the page."""

    line: int
    start: int
    end: int
    shown: str
    got: str

    @property
    def holds(self) -> bool:
        return same(self.shown, self.got)


def read_blocks(page: str) -> list[Block]:
    """The blocks of a page, in order, `text` blocks attached to the block before them."""
    blocks: list[Block] = []
    for found in FENCE.finditer(page):
        before = page[: found.start()]
        note = NOTE.search(before)
        notes = {note[1]: note[2] or ""} if note else {}
        block = Block(found[1], found[2], found.start(2), before.count("\n") + 2, notes)
        if block.language == "text" and blocks:
            blocks[-1].output = block
        else:
            blocks.append(block)
    return blocks


def same(shown: str, got: str) -> bool:
    """Whether two outputs are equal but for their numbers' last digits."""
    pattern, numbers = "", []
    for part in re.split(f"({NUMBER.pattern}|…)", shown.strip()):
        if part == "…":
            pattern += ".*?"
        elif NUMBER.fullmatch(part):
            pattern += f"({NUMBER.pattern})"
            numbers.append(float(part))
        else:
            pattern += re.escape(part)
    found = re.fullmatch(pattern, got.strip(), re.DOTALL)
    if found is None:
        return False
    pairs = zip(numbers, map(float, found.groups()), strict=True)
    return all(abs(a - b) <= TOLERANCE * max(1.0, abs(a)) for a, b in pairs)


@dataclass
class PageRunner:
    """Runs the blocks of one page; the current folder has to hold `examples` and `docs`."""

    name: str
    module: types.ModuleType = field(init=False)

    def __post_init__(self) -> None:
        self.module = types.ModuleType(f"page_{re.sub(r'[^a-z0-9]', '_', self.name.lower())}")

    def close(self) -> None:
        """Ends what the page has begun."""
        for value in vars(self.module).values():
            if type(value).__name__ == "Pipeline":
                value.close()
        sys.modules.pop(self.module.__name__, None)

    def run(self, page: str, block: Block) -> Iterator[Shown]:
        """Runs a block; yields all that the page shows as its output."""
        sys.modules[self.module.__name__] = self.module  # dataclasses and pickle look for their module there
        left, comments = self._python(page, block) if block.language == "python" else (self._shell(block), [])
        yield from comments
        output = block.output
        if output is not None:
            yield Shown(output.line, output.start, output.start + len(output.text), output.text, left)
        elif left.strip():
            raise AssertionError(f"{self.name}:{block.line}: this is printed and not shown:\n{left}")

    def _python(self, page: str, block: Block) -> tuple[str, list[Shown]]:
        source = "\n" * (block.line - 1) + block.text
        lines = source.splitlines()
        left, comments = "", []
        for statement in ast.parse(source).body:
            code = compile(ast.Module([statement], []), str(ROOT / self.name), "exec", dont_inherit=True)
            with contextlib.redirect_stdout(io.StringIO()) as caught:
                exec(code, vars(self.module))
            assert statement.end_lineno is not None
            assert statement.end_col_offset is not None
            rest = lines[statement.end_lineno - 1].encode()[statement.end_col_offset :].decode()
            if _prints(statement) and (comment := re.fullmatch(r"( +# )(.+)", rest)):
                end = _end_of_line(page, statement.end_lineno)
                comments.append(Shown(statement.end_lineno, end - len(comment[2]), end, comment[2], caught.getvalue()))
            else:
                left += caught.getvalue()
        return left, comments

    def _shell(self, block: Block) -> str:
        return "".join(run_command(line) for line in block.text.replace("\\\n", " ").splitlines())


def run_command(line: str) -> str:
    """Runs a `sensorium` command and gives what it writes to standard output and standard error together."""
    words = shlex.split(line, comments=True)
    if not words:
        return ""
    if re.search(r"[|<>;&$]", line):  # a shell's business
        bin_folder = Path(sys.executable).parent
        script = f"set -o pipefail; export PATH={shlex.quote(str(bin_folder))}:$PATH; {line}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        return done.stdout + done.stderr
    if words[0] != "sensorium":
        raise AssertionError(f"only sensorium is run here; mark the block <!-- not run: why -->: {line}")
    from typer.testing import CliRunner

    from sensorium.cli import app

    return CliRunner().invoke(app, words[1:], catch_exceptions=False).output


def is_run(block: Block) -> bool:
    """Whether a page's block is one to run with the others."""
    return block.language in ("python", "sh") and not block.notes.keys() & {"file", "not run"}


def _prints(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"


def _end_of_line(page: str, line: int) -> int:
    return sum(len(one) for one in page.splitlines(keepends=True)[:line]) - 1


HUB: dict[str, Callable[[Path], None]] = {}
"""The repositories that the pages name, each with what writes a stand-in: the same sizes, fewer layers, random."""


def stand_in(name: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Puts a writer into `HUB`."""

    def keep(write: Callable[[Path], None]) -> Callable[[Path], None]:
        HUB[name] = write
        return write

    return keep


@stand_in("google/vit-base-patch16-224@3f49326")
def _vit(folder: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    sizes = {"hidden_size": 768, "num_hidden_layers": 1, "num_attention_heads": 12, "intermediate_size": 64}
    ViTForImageClassification(ViTConfig(**sizes, num_labels=1000)).save_pretrained(folder)
    ViTImageProcessor().save_pretrained(folder)


@stand_in("microsoft/swin-tiny-patch4-window7-224")
def _swin(folder: Path) -> None:
    from transformers import SwinConfig, SwinForImageClassification, ViTImageProcessor

    config = SwinConfig(depths=[1, 1, 1, 1], mlp_ratio=0.25, num_labels=1000)
    SwinForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(resample=3).save_pretrained(folder)


@stand_in("timm/resnet18.a1_in1k")
def _resnet18(folder: Path) -> None:
    import timm

    model = timm.create_model("resnet18", pretrained=False)
    timm.models.save_for_hf(model, folder, safe_serialization=True)


@stand_in("facebook/dinov2-small")
def _dinov2(folder: Path) -> None:
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=384, num_hidden_layers=1, num_attention_heads=6, mlp_ratio=1)
    Dinov2Model(config).save_pretrained(folder)
    BitImageProcessor().save_pretrained(folder)


@stand_in("PekingU/rtdetr_r50vd")
def _rt_detr(folder: Path) -> None:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrImageProcessor

    backbone = {
        "model_type": "rt_detr_resnet",
        "embedding_size": 16,
        "hidden_sizes": [16, 32, 32, 32],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage2", "stage3", "stage4"],
    }
    sizes = {"encoder_hidden_dim": 32, "encoder_in_channels": [32, 32, 32], "decoder_in_channels": [32, 32, 32]}
    config = RTDetrConfig(backbone_config=backbone, d_model=32, **sizes, decoder_layers=2, num_labels=80)
    config.id2label = {**config.id2label, 0: "person"}
    RTDetrForObjectDetection(config).save_pretrained(folder)
    RTDetrImageProcessor().save_pretrained(folder)


@stand_in("distilbert/distilbert-base-cased-distilled-squad@564e9b5")
def _distilbert_squad(folder: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForQuestionAnswering

    from tests.tiny_text import wordpiece

    tokenizer = wordpiece(cased=True)
    config = DistilBertConfig(vocab_size=len(tokenizer), n_layers=1, hidden_dim=64)
    DistilBertForQuestionAnswering(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@stand_in("openai/clip-vit-base-patch32@3d74acf")
def _clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    from tests.tiny_text import clip_pairs

    tokenizer = clip_pairs()
    sizes = {"num_hidden_layers": 1, "intermediate_size": 64}
    text = {**sizes, "vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 1}
    CLIPModel(CLIPConfig(text_config=text, vision_config=sizes)).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@stand_in("google/owlvit-base-patch32@cbc355f")
def _owlvit(folder: Path) -> None:
    from tests import tiny_grounding

    shutil.copytree(tiny_grounding.folder("owlvit"), folder, dirs_exist_ok=True)


@stand_in("dandelin/vilt-b32-finetuned-vqa@d0a1f6a")
def _vilt(folder: Path) -> None:
    from tests import tiny_answering

    shutil.copytree(tiny_answering.vilt(), folder, dirs_exist_ok=True)


@stand_in("llava-hf/llava-1.5-7b-hf")
def _llava(folder: Path) -> None:
    from tests import tiny_answering

    shutil.copytree(tiny_answering.llava(), folder, dirs_exist_ok=True)


@stand_in("google-bert/bert-base-uncased")
def _bert(folder: Path) -> None:
    from tests import tiny_answering

    shutil.copytree(tiny_answering.bert(), folder, dirs_exist_ok=True)


@stand_in("MIT/ast-finetuned-audioset-10-10-0.4593@f826b80")
def _ast(folder: Path) -> None:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    sizes = {"hidden_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    ASTForAudioClassification(ASTConfig(**sizes, num_labels=527)).save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)


@stand_in("facebook/sam-vit-base@70c1a07")
def _sam(folder: Path) -> None:
    from transformers import SamConfig, SamImageProcessor, SamModel

    vision = {"hidden_size": 48, "num_hidden_layers": 1, "mlp_dim": 32, "global_attn_indexes": []}
    SamModel(SamConfig(vision_config=vision, mask_decoder_config={"mlp_dim": 32})).save_pretrained(folder)
    SamImageProcessor().save_pretrained(folder)


@stand_in("facebook/sam3")
def _sam3(folder: Path) -> None:
    from tests import tiny_sam

    shutil.copytree(tiny_sam.folder("sam3_video"), folder, dirs_exist_ok=True)


@stand_in("magic-leap-community/superpoint")
def _superpoint(folder: Path) -> None:
    from transformers import SuperPointConfig, SuperPointForKeypointDetection, SuperPointImageProcessor

    SuperPointForKeypointDetection(SuperPointConfig(encoder_hidden_sizes=[8, 8, 8, 8])).save_pretrained(folder)
    SuperPointImageProcessor().save_pretrained(folder)


@stand_in("ETH-CVG/lightglue_superpoint")
def _lightglue(folder: Path) -> None:
    from transformers import (
        LightGlueConfig,
        LightGlueForKeypointMatching,
        LightGlueImageProcessor,
        SuperPointConfig,
    )

    detector = SuperPointConfig(encoder_hidden_sizes=[8, 8, 8, 8])
    config = LightGlueConfig(keypoint_detector_config=detector, num_hidden_layers=1)
    LightGlueForKeypointMatching(config).save_pretrained(folder)
    LightGlueImageProcessor().save_pretrained(folder)


@stand_in("facebook/sam2.1-hiera-tiny")
def _sam2_video(folder: Path) -> None:
    from tests import tiny_tracking

    shutil.copytree(tiny_tracking.folder("sam2_video"), folder, dirs_exist_ok=True)


@stand_in("MCG-NJU/videomae-base-finetuned-kinetics@488eb9a")
def _videomae(folder: Path) -> None:
    from tests import tiny_video

    shutil.copytree(tiny_video.folder("videomae", num_labels=400), folder, dirs_exist_ok=True)


@stand_in("depth-anything/Depth-Anything-V2-Small-hf")
def _depth_anything(folder: Path) -> None:
    from transformers import DPTImageProcessor

    from tests import tiny_depth

    shutil.copytree(tiny_depth.folder("depth_anything"), folder, dirs_exist_ok=True)
    size = {"height": 518, "width": 518}
    DPTImageProcessor(size=size, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(folder)


@stand_in("hustvl/vitmatte-small-composition-1k")
def _vitmatte(folder: Path) -> None:
    from tests import tiny_matting

    shutil.copytree(tiny_matting.folder("vitmatte"), folder, dirs_exist_ok=True)


@stand_in("google/tipsv2-b14-dpt")
def _tipsv2_normals(folder: Path) -> None:
    from tests import tiny_normals

    shutil.copytree(tiny_normals.folder("tipsv2_dpt"), folder, dirs_exist_ok=True)


@stand_in("usyd-community/vitpose-base-simple")
def _vitpose(folder: Path) -> None:
    from tests import tiny_pose

    shutil.copytree(tiny_pose.folder("vitpose"), folder, dirs_exist_ok=True)


@stand_in("caidas/swin2SR-classical-sr-x2-64")
def _swin2sr(folder: Path) -> None:
    from tests import tiny_restoring

    shutil.copytree(tiny_restoring.folder("classical"), folder, dirs_exist_ok=True)


@stand_in("apple/DepthPro-hf")
def _depth_pro(folder: Path) -> None:
    from tests import tiny_depth

    shutil.copytree(tiny_depth.folder("depth_pro"), folder, dirs_exist_ok=True)


@stand_in("nvidia/segformer-b0-finetuned-ade-512-512")
def _segformer(folder: Path) -> None:
    import torch
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    config = SegformerConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], decoder_hidden_size=16, num_labels=150)
    model = SegformerForSemanticSegmentation(config)
    torch.nn.init.normal_(model.decode_head.classifier.weight, std=50)
    model.save_pretrained(folder)
    SegformerImageProcessor().save_pretrained(folder)


@stand_in("facebook/mask2former-swin-tiny-coco-instance")
def _mask2former(folder: Path) -> None:
    from transformers import Mask2FormerImageProcessor

    from tests import tiny_segmentation

    shutil.copytree(tiny_segmentation.folder("mask2former"), folder, dirs_exist_ok=True)
    Mask2FormerImageProcessor(size={"shortest_edge": 128, "longest_edge": 256}).save_pretrained(folder)


@stand_in("openai/whisper-base@e37978b")
def _whisper(folder: Path) -> None:
    import shutil

    from tests import tiny_speech

    shutil.copytree(tiny_speech.whisper(window_s=30, alignment=True), folder, dirs_exist_ok=True)


@stand_in("facebook/wav2vec2-base-960h")
def _wav2vec2(folder: Path) -> None:
    import shutil

    from tests import tiny_speech

    shutil.copytree(tiny_speech.ctc("wav2vec2"), folder, dirs_exist_ok=True)


@stand_in("cross-encoder/ms-marco-MiniLM-L6-v2@c5ee24c")
def _cross_encoder(folder: Path) -> None:
    from tests import tiny_ranking

    shutil.copytree(tiny_ranking.ranker("bert"), folder, dirs_exist_ok=True)


@stand_in("facebook/dpr-reader-multiset-base")
def _dpr_reader(folder: Path) -> None:
    from tests import tiny_reading

    shutil.copytree(tiny_reading.dpr(), folder, dirs_exist_ok=True)


@stand_in("HuggingFaceTB/SmolLM2-360M-Instruct")
def _chat_model(folder: Path) -> None:
    from tests import tiny_reading

    shutil.copytree(tiny_reading.causal(chat=True), folder, dirs_exist_ok=True)


@stand_in("laion/clap-htsat-unfused")
def _clap(folder: Path) -> None:
    from tests import tiny_embedding

    shutil.copytree(tiny_embedding.clap(), folder, dirs_exist_ok=True)


def fill_hub(hub: HubServer, folder: Path, *, text: str) -> None:
    """Adds stand-ins for the repositories named in `text` to a local Hub, at the revision after `@`, too."""
    import torch

    for name, write in HUB.items():
        if name not in text:
            continue
        torch.manual_seed(0)
        repository, _, revision = name.partition("@")
        place = folder / repository
        place.mkdir(parents=True)
        write(place)
        hub.add(repository, place)
        if revision:
            hub.add(repository, place, branch=revision)


def main() -> None:
    """Rewrites the outputs in the pages that do not hold."""
    import os
    import tempfile

    hub = HubServer()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        os.environ |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hub"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        wanted = [Path(word).resolve() for word in sys.argv[1:]] or PAGES
        fill_hub(hub, home / "stand-ins", text="".join(path.read_text(encoding="utf-8") for path in wanted))
        for path in wanted:
            place = home / path.stem
            place.mkdir()
            for shared in ("examples", "docs"):
                (place / shared).symlink_to(ROOT / shared)
            os.chdir(place)
            _rewrite(path)
    hub.close()


def _rewrite(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    runner = PageRunner(path.name)
    seen = [shown for block in read_blocks(page) if is_run(block) for shown in runner.run(page, block)]
    for shown in sorted((s for s in seen if not s.holds), key=lambda s: s.start, reverse=True):
        print(f"{path.name}:{shown.line}: {shown.shown!r} is {shown.got!r}")
        end = "\n" if shown.shown.endswith("\n") or not shown.shown else ""
        page = page[: shown.start] + shown.got.rstrip() + end + page[shown.end :]
    path.write_text(page, encoding="utf-8")
    runner.close()


if __name__ == "__main__":
    main()
