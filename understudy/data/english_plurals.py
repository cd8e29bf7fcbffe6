"""English plurals that often name classes, and their singulars.

A table and not a rule: an ``s`` at the end of a word says little (``glass``, ``lens``, ``series``, French
``souris``, German ``Fuchs``, Latin ``lupus``), and a plural that stays does less harm than a word cut short.
"""

from __future__ import annotations

_NOUNS = """
alligator ant ape bat bear beaver bee beetle bird boar butterfly camel canary cat caterpillar cheetah
chicken chimpanzee cobra cockroach cow coyote crab crane cricket crocodile crow deer dog dolphin donkey
dragonfly duck eagle elephant falcon fish flea flower fly fox frog gecko giraffe goat goldfish gorilla
grasshopper gull hamster hare hawk hedgehog hen heron hornet horse hyena insect jellyfish kangaroo kitten
koala ladybug leopard lion lizard lobster macaw meerkat mole monkey moth mule newt orangutan ostrich
otter owl panda panther parrot peacock pelican penguin pig pigeon porcupine puppy quail rabbit raccoon
rat raven reptile rooster salamander scorpion seagull seahorse seal shark shrimp skunk sloth slug snail
snake sparrow spider squid squirrel stork swallow swan tiger toad tortoise turkey turtle vulture wasp
whale wombat woodpecker worm yak zebra retriever terrier spaniel hound poodle bulldog shepherd collie
beagle aeroplane airplane ambulance balloon bicycle bike boat bridge car carriage cart drone ferry
helicopter jet lorry minivan motorbike motorcycle plane rocket scooter ship sled submarine taxi tank
tractor train tram truck van vehicle wagon yacht bush carnation cherry clover daffodil daisy dandelion
fern hydrangea lavender lily marigold mushroom orchid palm pansy peony petunia plant poppy rose seed
shrub sunflower tree tulip violet weed almond apple apricot avocado banana bean berry blackberry
blueberry burger cake carrot coconut cookie cucumber cupcake donut egg eggplant fig grape grapefruit
hamburger hazelnut kiwi lemon lime melon nut olive onion orange pancake papaya pea peach peanut pear
pepper pineapple pizza plum pomegranate pumpkin radish raspberry sandwich strawberry turnip vegetable
fruit waffle walnut watermelon apron backpack bag ball basket battery bed belt bench blanket book boot
bottle bowl box brush bucket button cable camera candle cap chair clock coat coin computer cup curtain
cushion desk dress drum fan fence flag fork glove guitar hammer hat helmet jacket jar kettle key keyboard
ladder lamp laptop magazine map mask mirror monitor mug nail napkin necklace needle pan pen pencil phone
piano pillow plate printer purse ring robot rug sandal scarf screen screw shirt shoe skirt sneaker sock
sofa spoon stamp suitcase sweater table television tent toaster tool towel toy trumpet umbrella vase
violin wallet watch wheel window wrench airport barn beach building castle church cloud desert door farm
field forest garden glacier highway hotel house island lake lighthouse mountain ocean office river road
school shop stadium street temple tower town tunnel village volcano waterfall athlete baby boy chef clown
dancer doctor face farmer girl hand nurse person pilot player soldier student
"""

_IRREGULAR = {
    "buffaloes": "buffalo",
    "calves": "calf",
    "children": "child",
    "flamingoes": "flamingo",
    "flamingos": "flamingo",
    "geese": "goose",
    "hippos": "hippo",
    "kangaroos": "kangaroo",
    "knives": "knife",
    "leaves": "leaf",
    "loaves": "loaf",
    "mangoes": "mango",
    "mangos": "mango",
    "men": "man",
    "mice": "mouse",
    "mosquitoes": "mosquito",
    "oxen": "ox",
    "people": "person",
    "potatoes": "potato",
    "rhinos": "rhino",
    "shelves": "shelf",
    "teeth": "tooth",
    "tomatoes": "tomato",
    "volcanoes": "volcano",
    "wolves": "wolf",
    "women": "woman",
}


def _plural(noun: str) -> str:
    if noun[-1] == "y" and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "z", "ch", "sh")) else f"{noun}s"


_SINGULARS = {_plural(noun): noun for noun in _NOUNS.split()} | _IRREGULAR


def singular(name: str) -> str:
    """The name with its last word in the singular, if that word is a plural of the table.

    A word with a capital is one only if it stands alone: ``Dogs``, but not ``Chicago Bulls``.

    Example:
        >>> singular("Dogs"), singular("polar bears"), singular("glass"), singular("Fuchs")
        ('Dog', 'polar bear', 'glass', 'Fuchs')
    """
    before, space, last = name.rpartition(" ")
    found = _SINGULARS.get(last.lower())
    if found is None or not (last.islower() or (last.istitle() and not before)):
        return name
    return f"{before}{space}{found.title() if last.istitle() else found}"
