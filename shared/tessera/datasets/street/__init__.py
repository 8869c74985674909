"""Built-in procedural road scenes: video sequences with exact labels, any size, from a seed.

``params`` says what can be asked for, ``style`` and ``layout`` invent a sequence, ``ground``, ``walls``, ``sprites``
and ``vehicles`` draw its parts, ``render`` composes a frame, ``write`` puts a data set on disk.
"""
