"""Other tools in which people answer: questions as their tasks, their annotations as answers.

Pure: bytes in, bytes out. `tasks` says what a question is to any tool, `replies` what an annotation is to Tessera. One
package per tool stands between these two and the tool's own files.
"""

from __future__ import annotations
