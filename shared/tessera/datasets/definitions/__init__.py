"""Definitions of published data sets: classes, ids, colours and groupings. Tables only; layouts use them."""
