"""What published data sets define: their classes, ids, colours and groupings. Tables only; layouts use them."""
