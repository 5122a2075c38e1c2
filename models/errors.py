"""The errors that Earwitness raises on purpose.

::

    EarwitnessError
    ├── InputError        an argument, a name or a file that the user gave is wrong
    ├── CorpusError       a corpus folder or its labels cannot be used
    ├── AudioError        one audio file cannot be read or written
    ├── CheckpointError   weights or their card are missing, altered or of another kind
    ├── ManifestError     a data document under ``_data/`` does not hold its schema
    ├── StoreError        the results store cannot be used
    └── OutputError       an output folder cannot be written

Every message is one line and names the file, the field and the value, and what would be right.
"""


class EarwitnessError(Exception):
    """Base of every error raised on purpose by ``models`` and ``eval``."""


class InputError(EarwitnessError):
    """An argument, a name or a file given by the user is wrong."""


class CorpusError(EarwitnessError):
    """A corpus folder or its labels cannot be used."""


class AudioError(EarwitnessError):
    """One audio file cannot be read or written."""


class CheckpointError(EarwitnessError):
    """Weights or their card are missing, altered or of another kind."""


class ManifestError(EarwitnessError):
    """A data document does not hold its schema."""


class StoreError(EarwitnessError):
    """The results store cannot be used."""


class OutputError(EarwitnessError):
    """An output folder cannot be written."""


def system_reason(error: OSError) -> str:
    """What the operating system says about a failure, in lower case, for use inside a message."""
    return (error.strerror or str(error)).lower()
