"""Put the toy method where a method's file belongs, in every Python process with this folder in PYTHONPATH."""

from pathlib import Path

import tessera.training.methods

tessera.training.methods.__path__.append(str(Path(__file__).parent / "methods"))
