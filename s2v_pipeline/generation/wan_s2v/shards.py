"""Weight files: headers checked before anything is read, tensors streamed, pickles read without running code.

Belongs here: the safetensors header, the check of a whole transformer, streaming to a device, state dicts in .pth.
Does not belong here: which files there are and what the tensors are called (checkpoint).
"""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import Checkpoint, TransformerConfig, expected_tensors, read_index

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
"""What weights may be stored in."""
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
MAX_PICKLE_BYTES = 16 << 30
"""Largest .pth file that is read: the text encoder's, the largest of the official ones, has 11.4 GB."""
_ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_READ_BYTES = 1 << 28  # one read call; the kernel stops at 2 GB
_READERS = 4  # threads; four keep an NVMe disk or the page cache busy
_READ_AHEAD = {"cpu": 1, "cuda": 4}  # tensors that wait in memory while one is taken; pinned and on their way for CUDA
_SHOWN = 4  # keys in a message


@dataclass(frozen=True)
class StoredTensor:
    """One tensor in a safetensors file: bytes `start` to `stop` of the file."""

    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def n_bytes(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class ShardReport:
    """What `check_shards` looked at.

    Attributes:
        tensors: every tensor, in the order of files and of bytes.
        file_bytes: file name -> length.
    """

    tensors: tuple[StoredTensor, ...]
    file_bytes: Mapping[str, int]

    @property
    def n_bytes(self) -> int:
        return sum(each.n_bytes for each in self.tensors)

    @property
    def dtypes(self) -> dict[str, int]:
        """Stored dtype -> number of tensors."""
        return dict(Counter(each.dtype for each in self.tensors))


def read_header(path: Path) -> tuple[StoredTensor, ...]:
    """The tensors of a safetensors file in the order of their bytes; only the header is read.

    Raises:
        WeightsError: no safetensors file, or one whose length is not what its header says.
    """
    try:
        with path.open("rb") as file:
            n_file, n_header = path.stat().st_size, int.from_bytes(file.read(8), "little")
            if n_file < 8 or n_header > min(MAX_HEADER_BYTES, n_file - 8):
                raise _damaged(path, f"{n_file} bytes, whose first 8 give the header {n_header} bytes")
            header = json.loads(file.read(n_header))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"a header that is not JSON ({str(error)[:80]})") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not isinstance(header, dict):
        raise _damaged(path, "a header that is no JSON object")
    begin, found = 8 + n_header, []
    for name, entry in header.items():
        if name != "__metadata__":
            found.append(_stored_tensor(path, name, entry, begin))
    found.sort(key=lambda each: (each.start, each.stop))
    end = begin
    for each in found:
        if each.start != end:
            raise _damaged(path, f"bytes of {each.name} that do not follow the tensor before it")
        end = each.stop
    if n_file != end:
        kind = "truncated: " if n_file < end else ""
        raise _damaged(path, f"{kind}{n_file} bytes, where its header says {end}")
    return tuple(found)


def _stored_tensor(path: Path, name: str, entry: object, begin: int) -> StoredTensor:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]}:
            sizes_ok = all(isinstance(size, int) and size >= 0 for size in shape) and 0 <= start <= stop
            if sizes_ok and stop - start == math.prod(shape) * _ITEM_BYTES.get(dtype, 1):
                return StoredTensor(name, path, dtype, tuple(shape), begin + start, begin + stop)
    raise _damaged(path, f"an entry {name[:60]!r} whose shape, type and bytes do not agree")


def check_shards(checkpoint: Checkpoint, config: TransformerConfig) -> ShardReport:
    """Every tensor that the configuration asks for is there once, whole, with its shape; from the headers alone.

    Raises:
        WeightsError: a damaged file, a missing, doubled or unknown tensor, a wrong shape or type, an index that lies.
    """
    headers = {path: read_header(path) for path in checkpoint.shards}
    tensors = tuple(each for header in headers.values() for each in header)
    expected, where = expected_tensors(config), checkpoint.transformer_config.parent
    cure = f"See `s2v weights verify {checkpoint.folder}`, delete what is damaged and fetch it again."
    counts = Counter(each.name for each in tensors)
    doubled = [name for name, count in counts.items() if count > 1]
    missing = [name for name in expected if name not in counts]
    extra = [name for name in counts if name not in expected]
    for fault, names in (("in two files", doubled), ("missing", missing), ("of another model", extra)):
        if names:
            rule = f"the transformer in {where} must have {len(expected)} tensors, each once"
            raise WeightsError(rule, got=f"{len(names)} {fault}: {first_few(names)}", cure=cure)
    for each in tensors:
        if each.shape != expected[each.name]:
            rule = f"{each.name} in {each.path} must have the shape {list(expected[each.name])} of the config.json"
            raise WeightsError(rule, got=str(list(each.shape)), cure=cure)
        if each.dtype not in DTYPES:
            rule = f"{each.name} in {each.path} must be stored as {', '.join(DTYPES)}"
            raise WeightsError(rule, got=each.dtype, cure="Give the bf16 checkpoint; quantised ones are not read.")
    if checkpoint.index is not None:
        index = read_index(checkpoint.index)
        wrong = [each.name for each in tensors if index.get(each.name) != each.path.name]
        wrong += [name for name in index if name not in counts]
        if wrong:
            rule = f"{checkpoint.index} must name the file of each tensor"
            raise WeightsError(rule, got=f"{len(wrong)} elsewhere: {first_few(wrong)}", cure=cure)
    return ShardReport(tensors, {path.name: path.stat().st_size for path in headers})


def load_transformer_state(
    checkpoint: Checkpoint,
    config: TransformerConfig,
    *,
    dtype: torch.dtype,
    device: torch.device,
    keep_float32: Callable[[str], bool] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the transformer, one after another, on the device; the files are checked first.

    Besides what the caller keeps, one tensor is in memory (a few, in pinned memory, for CUDA). Tensors own their
    memory: files may change or go afterwards.

    Args:
        dtype: what weights are cast to, on the device.
        keep_float32: whether the tensor of that name stays in, or becomes, float32 whatever `dtype` is.
        on_progress: called with (bytes done, bytes in all), as stored.

    Raises:
        WeightsError: as `check_shards`; a file that changed since it was checked.
    """
    report = check_shards(checkpoint, config)
    n_done = 0
    for stored, host in stream_tensors(report.tensors, pinned=device.type == "cuda"):
        wanted = torch.float32 if keep_float32 is not None and keep_float32(stored.name) else dtype
        yield stored.name, host.to(device, non_blocking=True).to(wanted)
        n_done += stored.n_bytes
        if on_progress is not None:
            on_progress(n_done, report.n_bytes)


def stream_tensors(
    tensors: Sequence[StoredTensor], *, pinned: bool = False
) -> Generator[tuple[StoredTensor, torch.Tensor], None, None]:
    """Tensors as stored, in their order, on the CPU; threads read the next ones while one is used."""
    waiting: deque[tuple[StoredTensor, Future[torch.Tensor]]] = deque()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="weights") as readers:
        ahead = _READ_AHEAD["cuda" if pinned else "cpu"]
        try:
            for stored in tensors:
                waiting.append((stored, readers.submit(_read_tensor, stored, pinned=pinned)))
                if len(waiting) > ahead:
                    first, read = waiting.popleft()
                    yield first, read.result()
                    del read  # holds the tensor
            while waiting:
                first, read = waiting.popleft()
                yield first, read.result()
                del read
        finally:
            for _, read in waiting:
                read.cancel()


def _read_tensor(stored: StoredTensor, *, pinned: bool) -> torch.Tensor:
    """One tensor, read past the page tables: a map of the file would fault page by page, and die with the file."""
    held = torch.empty(stored.n_bytes, dtype=torch.uint8, pin_memory=pinned)
    view, n_read = held.numpy().data, 0
    try:
        with stored.path.open("rb", buffering=0) as file:
            file.seek(stored.start)
            while n_read < stored.n_bytes:
                n_now = file.readinto(view[n_read : n_read + _READ_BYTES])
                if not n_now:
                    raise _damaged(stored.path, f"{n_read} of the {stored.n_bytes} bytes of {stored.name}")
                n_read += n_now
    except OSError as error:
        raise _unreadable(stored.path, error) from error
    return held.view(DTYPES[stored.dtype]).view(stored.shape)


def load_pickle(path: Path, *, max_bytes: int = MAX_PICKLE_BYTES) -> dict[str, torch.Tensor]:
    """The state dict in a .pth file, memory-mapped on the CPU; nothing in the file is run.

    Raises:
        WeightsError: not a file of `torch.save`, truncated, larger than `max_bytes`, or anything but plain tensors.
    """
    try:
        n_bytes = path.stat().st_size
        if n_bytes > max_bytes:
            raise WeightsError(f"{path} may have at most {max_bytes} bytes", got=str(n_bytes), cure=_cure(path))
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise _damaged(path, "a compressed archive, which torch.save does not write")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except zipfile.BadZipFile as error:
        raise _damaged(path, f"no archive of torch.save, or a truncated one ({error})") from error
    except pickle.UnpicklingError as error:
        if "Unsupported" not in str(error):
            raise _damaged(path, f"a pickle that does not read ({str(error)[:120]})") from error
        rule = f"{path} must hold tensors alone"
        raise WeightsError(rule, got="a pickle with code in it, which was not run", cure=_cure(path)) from error
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {str(error)[:120]}") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not isinstance(content, dict):
        raise _damaged(path, f"a {type(content).__name__} instead of a dict of tensors")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise _damaged(path, f"{str(name)[:60]!r}: a {type(value).__name__} instead of a tensor")
        if value.layout != torch.strided or not value.is_contiguous():
            raise _damaged(path, f"{name[:60]!r}: a tensor that is not laid out densely")
    return dict(content)


def first_few(names: Sequence[str]) -> str:
    """The first names of a list and how many more there are, for a message."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:80] for name in names[:_SHOWN]) + more


def _cure(path: Path) -> str:
    return f"Delete {path.name} and fetch it again: s2v weights fetch FOLDER"


def _damaged(path: Path, got: str) -> WeightsError:
    return WeightsError(f"{path} must be a whole weight file", got=got, cure=_cure(path))


def _unreadable(path: Path, error: OSError) -> WeightsError:
    got = f"{type(error).__name__}: {error.strerror}"
    return WeightsError(f"{path} must be readable", got=got, cure="Look at the file's rights and at the disk.")
