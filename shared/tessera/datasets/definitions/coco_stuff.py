"""COCO-Stuff: the 182 ids of ``stuffthingmaps``, 171 of them in use; a PNG stores the id minus one, 255 is none."""

from __future__ import annotations

from tessera.datasets.samples import palette
from tessera.formats.label_codes import IdCode
from tessera.formats.manifests import ClassInfo

VOID = 255

# Ids 1 to 182 in order: 91 things, then 91 kinds of stuff.
NAMES = tuple(
    name.strip()
    for name in """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign, stop
sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat, backpack,
umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,
baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon, bowl,
banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
mirror, dining table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven,
toaster, sink, refrigerator, blender, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush,
banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-
tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-
other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-
other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement,
pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand,
sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table, tent, textile-
other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood,
water-other, waterdrops, window-blind, window-other, wood
""".replace("\n", " ").split(",")
)

# Ids of things that the authors of COCO listed but never annotated.
UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)

ALL_CLASSES = tuple(ClassInfo(name, palette(at + 1)) for at, name in enumerate(NAMES))
USED = tuple(value for value in range(182) if value + 1 not in UNUSED)
CLASSES = tuple(ALL_CLASSES[value] for value in USED)

CODE = IdCode(
    "values of COCO-Stuff (0 to 181 without those of 11 unused ids, and 255)",
    {**{value: index for index, value in enumerate(USED)}, 255: VOID},
)
