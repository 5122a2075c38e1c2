"""Other people's models: a YAML file of theirs says what to call, and the harness treats it as any other system.

::

    name: my_vocoder            # column in results; letters, digits and _
    title: My vocoder           # for readers (default: the name)
    kind: python                # python, command, folder, torchscript or onnx
    target: infer.py:enhance    # what to call; paths are relative to the YAML file
    sample_rate_hz: 22050       # the rate it works at; leave out where any rate will do
    parameters: 4260257         # learned numbers (default: 0)
    files: [weights.pt]         # further files that decide its output; a change makes results stale
    summary: One sentence.

What ``target`` is, by kind:

``python``       ``file.py:name``. A function is called with a float32 array ``(time,)`` and with those of the keyword
                 arguments ``sample_rate_hz`` and ``seed`` that it names, and returns an array of the same length. A
                 class is made once, with ``device=`` if it takes it, and must have ``reconstruct`` as `System` has.
``command``      A command line, run for every clip: ``{input}`` is a WAV file to read, ``{output}`` one to write,
                 ``{seed}`` and ``{sample_rate_hz}`` are numbers. ``timeout_s`` (default 600) ends it.
``folder``       A folder of finished files, named by clip id, in any audio format.
``torchscript``  A file of `torch.jit.save`; called with ``(batch, time)``, or ``(batch, 1, time)`` with
                 ``channels: true``.
``onnx``         A model file whose first input is such a batch; needs the package onnxruntime.

Like any program, such a file does what it likes when it is run: use those that you trust.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from eval import networks
from eval.protocols import System
from eval.score import audio_files
from models.errors import EarwitnessError, InputError, system_reason

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".yml", ".yaml")
_FIELDS: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "name": (str,),
        "title": (str,),
        "kind": (str,),
        "target": (str,),
        "sample_rate_hz": (int,),
        "parameters": (int,),
        "files": (list,),
        "summary": (str,),
        "deterministic": (bool,),
        "channels": (bool,),
        "timeout_s": (int, float),
        "parallel": (bool,),
    }
)
_ALLOWED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "python": frozenset({"parallel"}),
        "command": frozenset({"timeout_s", "parallel"}),
        "folder": frozenset(),
        "torchscript": frozenset({"channels"}),
        "onnx": frozenset({"channels"}),
    }
)


@dataclass(frozen=True)
class External:
    """What a YAML file says of a model.

    Attributes:
        path: The file.
        name: Column in results.
        title: Name for readers.
        kind: One of the kinds of the module text.
        target: What to call.
        sample_rate_hz: The rate it works at, None for any.
        parameters: Learned numbers.
        files: Further files that decide the output, as given.
        summary: One sentence for readers.
        deterministic: Whether equal seeds give equal outputs.
        channels: Whether networks want an axis of channels.
        timeout_s: Longest time of a command.
        parallel: Whether several clips may be under way at once.
    """

    path: Path
    name: str
    title: str
    kind: str
    target: str
    sample_rate_hz: int | None = None
    parameters: int = 0
    files: tuple[str, ...] = ()
    summary: str = ""
    deterministic: bool = True
    channels: bool = False
    timeout_s: float = 600.0
    parallel: bool = False

    def place(self, text: str) -> Path:
        """A path of the file, relative to it."""
        return self.path.parent / text

    @property
    def code_path(self) -> Path | None:
        """The file or folder that ``target`` names, None for a command."""
        if self.kind == "command":
            return None
        return self.place(self.target.rpartition(":")[0] if self.kind == "python" else self.target)

    def key(self) -> str:
        """Hash of all that decides an output: the file itself, what it names, and for folders their listing.

        Raises:
            InputError: If something named is missing.
        """
        digest = hashlib.sha256(_read(self.path))
        named = [self.place(text) for text in self.files]
        code = self.code_path
        for path in [*([code] if code is not None else []), *named]:
            digest.update(path.name.encode() + b"\0")
            if path.is_dir():
                for item in sorted(path.rglob("*")):
                    if item.is_file():
                        facts = item.stat()
                        told = f"{item.relative_to(path).as_posix()} {facts.st_size} {facts.st_mtime_ns}\n"
                        digest.update(told.encode("utf-8", "surrogateescape"))
            else:
                digest.update(hashlib.sha256(_read(path)).digest())
        return digest.hexdigest()

    def load(self, device: str = "cpu") -> System:
        """The system.

        Raises:
            InputError: If it cannot be made.
        """
        return _KINDS[self.kind](self, device)


def is_external(text: str) -> bool:
    """Whether a model is named by a file of its own rather than by the table."""
    return text.endswith(SUFFIXES)


def read_external(path: Path) -> External:
    """A model's YAML file.

    Raises:
        InputError: If the file is missing or wrong, naming the field.
    """
    try:
        found = yaml.safe_load(_read(path).decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: need fields such as name, kind and target")
    for key, value in found.items():
        kinds = _FIELDS.get(str(key))
        if kinds is None:
            raise InputError(f"{path}: field {key!r} is unknown; known: {', '.join(_FIELDS)}")
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise InputError(f"{path}: {key} is {value!r}, need {' or '.join(kind.__name__ for kind in kinds)}")
    for key in ("name", "kind", "target"):
        if not found.get(key):
            raise InputError(f"{path}: {key} is missing")
    name, kind = str(found["name"]), str(found["kind"])
    if not name.isascii() or not name.isidentifier() or name.startswith("_"):
        raise InputError(f"{path}: name is {name!r}, need letters, digits and _, a letter first")
    if kind not in _KINDS:
        raise InputError(f"{path}: kind is {kind!r}; known: {', '.join(_KINDS)}")
    for key in ("channels", "timeout_s", "parallel"):
        if key in found and key not in _ALLOWED[kind]:
            raise InputError(f"{path}: {key} means nothing for kind {kind!r}")
    if kind == "python" and not found["target"].rpartition(":")[0]:
        raise InputError(f"{path}: target is {found['target']!r}, need file.py:name")
    for key, least in (("sample_rate_hz", 1), ("parameters", 0), ("timeout_s", 0)):
        if key in found and found[key] < least:
            raise InputError(f"{path}: {key} is {found[key]}, need at least {least}")
    found["files"] = tuple(str(item) for item in found.get("files") or ())
    external = External(path=path, **{"title": name, **found})
    external.key()
    return external


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({system_reason(error)})") from None


class _ExternalSystem:
    """What all kinds share."""

    def __init__(self, external: External, device: str) -> None:
        self.external, self.device = external, device
        self.name, self.title = external.name, external.title
        self.sample_rate_hz = external.sample_rate_hz
        self.parameters, self.deterministic = external.parameters, external.deterministic
        # What is not said to be safe for several threads gets one call at a time.
        self._lock = threading.Lock()

    def _turn(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.external.parallel else self._lock

    def codes(self, waveform: Tensor, *, sample_rate_hz: int) -> dict[str, Tensor]:
        """There are none."""
        return {}

    def describe(self) -> dict[str, object]:
        """The file's fields; its key stands for the weights."""
        e = self.external
        return {
            "name": e.name,
            "config": {"kind": e.kind, "target": e.target, "sample_rate_hz": e.sample_rate_hz},
            "checkpoint": {"sha256": e.key(), "files": [e.path.name, *e.files]},
            "parameters": e.parameters,
            "external": True,
        }


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Whatever other people's code raises is a failure of the clip, not of the run."""
    try:
        yield
    except EarwitnessError:
        raise
    except Exception as error:
        raise InputError(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _rows(made: Sequence[Any], given: Tensor, name: str) -> Tensor:
    """Waveforms of single clips as a batch."""
    import numpy as np
    import torch

    rows = []
    for row in made:
        array = np.asarray(row.detach().cpu() if isinstance(row, torch.Tensor) else row)
        if array.ndim == 2 and 1 in array.shape:
            array = array.reshape(-1)
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.floating):
            raise InputError(f"{name}: gave {array.dtype} of shape {array.shape}, need floats of shape (time,)")
        rows.append(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)))
    if any(row.shape != given.shape[1:] for row in rows):
        lengths = sorted({row.shape[0] for row in rows})
        raise InputError(f"{name}: gave {lengths} samples for {given.shape[1]}")
    return torch.stack(rows)


class _PythonSystem(_ExternalSystem):
    def __init__(self, external: External, device: str) -> None:
        super().__init__(external, device)
        file, _, attribute = external.target.rpartition(":")
        path = external.place(file)
        spec = importlib.util.spec_from_file_location(f"earwitness_external_{external.name}", path)
        if spec is None or spec.loader is None:
            raise InputError(f"{external.path}: target {file!r} is no Python file")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
            found: Any = getattr(module, attribute)
            if inspect.isclass(found):
                make: Any = found
                found = make(device=device) if "device" in inspect.signature(make).parameters else make()
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise InputError(f"{external.path}: target {external.target!r} cannot be used: {said}") from error
        self._system = found if hasattr(found, "reconstruct") else None
        if self._system is None and not callable(found):
            raise InputError(f"{external.path}: target {external.target!r} is neither a function nor a class")
        self._function: Callable[..., Any] = found
        if self._system is None:
            taken = inspect.signature(found).parameters
            any_keyword = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())
            self._keywords = {k for k in ("sample_rate_hz", "seed") if any_keyword or k in taken}

    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        if self._system is not None:
            with self._turn(), _told(self.name):
                return self._batch(waveform, sample_rate_hz, seeds)
        made = []
        for row, seed in zip(waveform.cpu().numpy(), seeds, strict=True):
            known: dict[str, Any] = {"sample_rate_hz": sample_rate_hz, "seed": seed}
            keywords = {key: known[key] for key in self._keywords}
            with self._turn(), _told(self.name):
                made.append(self._function(row.copy(), **keywords))
        return _rows(made, waveform, self.name)

    def _batch(self, waveform: Tensor, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        made: Tensor = self._system.reconstruct(waveform, sample_rate_hz=sample_rate_hz, seeds=seeds)  # type: ignore[union-attr]
        return made


class _CommandSystem(_ExternalSystem):
    def __init__(self, external: External, device: str) -> None:
        super().__init__(external, device)
        try:
            self._words = shlex.split(external.target)
        except ValueError as error:
            raise InputError(f"{external.path}: target is no command line: {error}") from None
        for field in ("{input}", "{output}"):
            if not any(field in word for word in self._words):
                raise InputError(f"{external.path}: target lacks {field}")

    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        made = []
        for row, seed in zip(waveform.cpu().numpy(), seeds, strict=True):
            with self._turn():
                made.append(self._run(row, sample_rate_hz, seed))
        return _rows(made, waveform, self.name)

    def _run(self, row: Any, sample_rate_hz: int, seed: int) -> Any:
        from eval import audio_io

        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "input.wav", Path(folder) / "output.wav"
            audio_io.write_float(source, row[None], sample_rate_hz)
            told = {"input": source, "output": target, "seed": seed, "sample_rate_hz": sample_rate_hz}
            words = []
            for word in self._words:
                for key, value in told.items():
                    word = word.replace(f"{{{key}}}", str(value))
                words.append(word)
            try:
                done = subprocess.run(
                    words, cwd=self.external.path.parent, capture_output=True, timeout=self.external.timeout_s
                )
            except subprocess.TimeoutExpired:
                raise InputError(f"{self.name}: the command took longer than {self.external.timeout_s} s") from None
            except OSError as error:
                raise InputError(f"{self.name}: {words[0]!r} cannot be run ({system_reason(error)})") from None
            if done.returncode:
                lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
                said = f": {lines[-1]}" if lines else ""
                raise InputError(f"{self.name}: the command ended with status {done.returncode}{said}")
            if not target.is_file():
                raise InputError(f"{self.name}: the command wrote no {{output}}")
            audio = audio_io.read(target, mono=True)
        if audio.sample_rate_hz != sample_rate_hz:
            raise InputError(f"{self.name}: the command wrote {audio.sample_rate_hz} Hz, need {sample_rate_hz} Hz")
        return audio.waveform[0]


class _FolderSystem(_ExternalSystem):
    """Finished files; told which clips are meant."""

    by_clip = True

    def __init__(self, external: External, device: str) -> None:
        super().__init__(external, device)
        self._files = audio_files(external.place(external.target))

    def reconstruct(
        self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int], clip_ids: Sequence[str] = ()
    ) -> Tensor:
        from eval import audio_io
        from eval.runner import safe_name

        made = []
        for _, clip_id in zip(waveform, clip_ids, strict=True):
            path = self._files.get(clip_id) or self._files.get(safe_name(clip_id))
            if path is None:
                raise InputError(f"{self.name}: {self.external.target} has no file for clip {clip_id!r}")
            audio = audio_io.read(path, mono=True)
            if audio.sample_rate_hz != sample_rate_hz:
                raise InputError(f"{path}: has {audio.sample_rate_hz} Hz, the clip {sample_rate_hz} Hz")
            made.append(audio.waveform[0])
        return _rows(made, waveform, self.name)


class _NetworkSystem(_ExternalSystem):
    """A network in a file."""

    def __init__(self, external: External, device: str) -> None:
        super().__init__(external, device)
        opener = networks.open_onnx if external.kind == "onnx" else networks.open_torchscript
        self._network = opener(external.place(external.target), device)
        self.parameters = self.parameters or self._network.parameters

    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        # Row by row: a row must not depend on its company.
        made = []
        for row in waveform.cpu().numpy():
            with self._turn(), _told(self.name):
                made.append(self._network.run(row[None, None] if self.external.channels else row[None]).reshape(-1))
        return _rows(made, waveform, self.name)


_KINDS: Mapping[str, Callable[[External, str], System]] = MappingProxyType(
    {
        "python": _PythonSystem,
        "command": _CommandSystem,
        "folder": _FolderSystem,
        "torchscript": _NetworkSystem,
        "onnx": _NetworkSystem,
    }
)
