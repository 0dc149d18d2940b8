"""Results of the stages of a build, kept by what they are made from."""

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from .cache import locked

KEPT = 3
"""Results of one stage of one design that are kept, the last used ones."""


class Stages:
    """The stages of the build of ``design``, a name for files; results are folders in ``cache``."""

    def __init__(self, cache: Path, design: str):
        self.cache, self.design = cache, design

    def get(self, stage: str, made_from: Iterable[str | bytes],
            make: Callable[[Path], None]) -> Path:
        """The folder that ``make`` has filled, now or before: it is there as a whole or not at all.

        It stays as long as no other ``KEPT`` of this stage have been asked for.
        """
        digest = hashlib.sha256()
        for part in made_from:
            part = part.encode() if isinstance(part, str) else part
            digest.update(len(part).to_bytes(8, "little") + part)
        prefix = f"{self.design}-{stage}-"
        entry = self.cache / f"{prefix}{digest.hexdigest()[:16]}"
        with locked(self.cache, f"{self.design}-{stage}"):
            if not entry.exists():
                work = self.cache / f".{prefix}unfinished"
                shutil.rmtree(work, ignore_errors=True)  # of a build that was killed
                work.mkdir()
                try:
                    make(work)
                    work.rename(entry)
                finally:
                    shutil.rmtree(work, ignore_errors=True)
            entry.touch()
            others = [path for path in self.cache.glob(f"{prefix}*") if path.is_dir()]
            for old in sorted(others, key=lambda path: path.stat().st_mtime)[:-KEPT]:
                shutil.rmtree(old)
        return entry
