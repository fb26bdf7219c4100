"""The options with which a checkpoint is found and opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LoadOptions:
    """How a checkpoint is found and opened; handed down to everything that loads a part of it.

    Attributes:
        revision: a branch, a tag or a commit of the Hub; a 40-hex commit never changes and works offline once cached.
        token: a Hub token, True for the one that `hf auth login` stored, False for none, None for whichever there is.
        cache_dir: where Hub files are kept, instead of the folder that HF_HOME or HF_HUB_CACHE name.
        local_files_only: use what is cached and make no request.
        trust_remote_code: let the checkpoint's own Python files be fetched, and run by Transformers.
        use_safetensors: only safetensors weights; False also allows a pickled `pytorch_model.bin`.
        attn_implementation: passed to Transformers.
        device_map: passed to Transformers.
        quantization_config: passed to Transformers.
        progress: show Transformers' bar on standard error while weights are read.
        dtype: a torch.dtype for the weights, or None for the checkpoint's own.
        device: a torch.device for the weights, which go there as they are read, each by itself; None for the CPU.
    """

    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False
    use_safetensors: bool = True
    attn_implementation: str | None = None
    device_map: Any = None
    quantization_config: Any = None
    progress: bool = False
    dtype: Any = None
    device: Any = None
