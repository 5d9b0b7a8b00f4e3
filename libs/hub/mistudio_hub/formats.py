"""What weights are kept in, told by the names of files."""

from __future__ import annotations

from pathlib import PurePosixPath

_SAFETENSORS = frozenset({".safetensors"})
# Python's own serialization, whatever it is called: reading it can run code.
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".nemo"})
_OTHERS = frozenset(
    {".h5", ".keras", ".msgpack", ".onnx", ".onnx_data", ".gguf", ".ggml", ".tflite", ".ot", ".mlmodel", ".mlpackage"}
    | {".pb", ".npz", ".npy"}
)


def is_safetensors(path: str) -> bool:
    """Whether the file holds tensors as safetensors, which can hold nothing else."""
    return _suffix(path) in _SAFETENSORS


def is_pickle(path: str) -> bool:
    """Whether the file is a pickle, which can run code when it is read, or may be one."""
    return _suffix(path) in _PICKLES


def is_other_format(path: str) -> bool:
    """Whether the file holds weights for other frameworks: GGUF, ONNX, TensorFlow, Flax and the like."""
    return _suffix(path) in _OTHERS


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()
