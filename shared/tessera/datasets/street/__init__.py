"""Built-in procedural road scenes: video sequences with exact labels, any size, from a seed.

``params`` has the parameters, ``style`` and ``layout`` invent a sequence, ``ground``, ``walls``, ``sprites`` and
``vehicles`` draw its parts, ``render`` composes a frame, ``write`` puts a data set on disk.
"""
