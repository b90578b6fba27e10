"""The sentences of the English name-recall stories."""

from throughtime.tasks.stories import Storyteller

ENGLISH = Storyteller(
    names=("Tom", "Ben", "Jack", "Paul", "Sam", "Leo", "Max", "Dan"),
    visitors=("Mary", "Anna", "Emma", "Lucy", "Jane", "Rose", "Ella", "Kate"),
    openings=(
        "{name} was watching TV in his room.",
        "{name} was drinking tea at home.",
        "{name} was doing his homework.",
        "{name} was reading alone.",
        "{name} sat down.",
        "{name} waited.",
    ),
    arrivals=(
        "{name} came into the room.",
        "{name} opened the door.",
        "{name} came in.",
    ),
    question="{name} said hi to",
    fillers=(
        "Rain fell.",
        "Evening came.",
        "It was late.",
        "It was cold outside.",
        "The street was quiet.",
        "The sky turned grey.",
        "Somewhere a bell rang.",
        "A dog barked next door.",
        "Snow lay on the roof.",
        "The kettle began to sing.",
        "A bus stopped at the corner.",
        "The clock on the wall ticked.",
        "Music was playing on the radio.",
        "The lamp on the desk was on.",
        "A cat was asleep on the sofa.",
        "There were two apples and a cup on the table.",
        "In the garden the wind moved the leaves of the trees.",
    ),
    forms={"name": str},
    example="Tom was watching TV in his room. … Mary came into the room. Mary said hi to [Tom].",
)
