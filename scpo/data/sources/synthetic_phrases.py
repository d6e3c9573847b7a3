"""The words of the synthetic cultures: questions, advice, and phrases of attribute levels.

An attribute level is shown by one of several phrasings, so that a small language model can learn
it from a few hundred pairs but not from a single word. `render_response` puts a response together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Level:
    """One level of an attribute.

    Attributes:
        name: What the level is called.
        value: Its place on the attribute's axis, in -1..1; utilities are linear in it.
        phrases: Phrasings that show it; none for a level that is shown by silence.
    """

    name: str
    value: float
    phrases: tuple[str, ...] = ()


# In the order in which the phrases stand in a response. Those of "directness" hold the advice.
ATTRIBUTES: dict[str, tuple[Level, ...]] = {
    "formality": (
        Level(
            "informal",
            -1.0,
            (
                "Hey, good one!",
                "Oh yeah, easy peasy, mate.",
                "Alright buddy, here's the deal.",
                "Yep, been there, no biggie.",
            ),
        ),
        Level(
            "formal",
            1.0,
            (
                "Thank you for your enquiry.",
                "I should be glad to advise on this matter.",
                "Please allow me to offer a considered reply.",
                "It is a pleasure to address your question.",
            ),
        ),
    ),
    "warmth": (
        Level("neutral", -1.0),
        Level(
            "warm",
            1.0,
            (
                "I know this can feel hard, so be kind to yourself.",
                "You are doing so well just by asking.",
                "It warms my heart that you care about this.",
                "Please do not worry, you are not alone.",
            ),
        ),
    ),
    "directness": (
        Level(
            "indirect",
            -1.0,
            (
                "Perhaps you could {advice}, if that suits you.",
                "One gentle option might be to {advice}.",
                "Some people find that it helps to {advice}.",
                "It might be worth considering whether to {advice}.",
            ),
        ),
        Level(
            "direct",
            1.0,
            (
                "You must {advice}, full stop.",
                "Here is exactly what to do: {advice}.",
                "The answer is clear: {advice}.",
                "Stop hesitating and {advice}.",
            ),
        ),
    ),
    "evidence": (
        Level(
            "tradition",
            -1.0,
            (
                "Our grandparents always did it this way.",
                "It is an old custom that has never failed.",
                "The elders taught us so for generations.",
            ),
        ),
        Level("none", 0.0),
        Level(
            "science",
            1.0,
            (
                "Recent studies show that this works.",
                "Researchers have measured a clear benefit.",
                "The data from several trials support it.",
            ),
        ),
    ),
    "community": (
        Level(
            "individual",
            -1.0,
            (
                "Decide for yourself and go your own way.",
                "Your own wishes come first here.",
                "Rely on yourself and nobody else.",
                "Do what makes you personally happy.",
            ),
        ),
        Level(
            "family",
            1.0,
            (
                "Talk it over with your family first.",
                "Do it together with your neighbours and relatives.",
                "Think of what is good for the whole household.",
                "Ask your parents and honour their wishes.",
            ),
        ),
    ),
    "religion": (
        Level("secular", -1.0),
        Level(
            "religious",
            1.0,
            (
                "Say a short prayer before you begin.",
                "Trust that God will guide your steps.",
                "With faith and a blessing the rest will follow.",
                "Give thanks to the Lord when it is done.",
            ),
        ),
    ),
    "humour": (
        Level("serious", -1.0),
        Level(
            "joking",
            1.0,
            (
                "If it goes wrong, just blame the cat.",
                "Worst case, you get a funny story, haha.",
                "My goldfish managed it, so you will too.",
                "No superhero cape required, though it would look great.",
            ),
        ),
    ),
    "detail": (
        Level(
            "brief",
            -1.0,
            ("That is all.", "Nothing more is needed.", "Keep it that simple.", "End of story."),
        ),
        Level(
            "thorough",
            1.0,
            (
                "Begin with one small step, note what changes each day, and adjust the plan "
                "after a week.",
                "First prepare what you need, then set aside half an hour, and finally review "
                "how it went.",
                "In particular, write down the steps, try them in order, and keep whatever "
                "proves useful for you.",
            ),
        ),
    ),
}

QUESTIONS: dict[str, tuple[str, ...]] = {
    "How can I sleep better at night?": (
        "go to bed at the same hour every day",
        "put the phone in another room",
        "take a slow walk after dinner",
    ),
    "What should I cook for guests on Sunday?": (
        "make one big pot of stew",
        "bake a simple fish with potatoes",
        "set out bread, salad and soup",
    ),
    "How do I save money every month?": (
        "put a tenth aside on payday",
        "write down every small expense",
        "cook at home on weekdays",
    ),
    "My neighbour is noisy. What can I do?": (
        "knock on the door and speak calmly",
        "agree on quiet hours with the neighbour",
        "leave a polite note in the letterbox",
    ),
    "How should I prepare for a job interview?": (
        "practise three short answers aloud",
        "read about the company beforehand",
        "lay out your clothes the evening before",
    ),
    "What is a good gift for a wedding?": (
        "give something useful for the kitchen",
        "give money in a handsome envelope",
        "frame a picture of the couple",
    ),
    "How can I learn a new language quickly?": (
        "speak for ten minutes every day",
        "listen to songs and repeat the words",
        "label the things in your home",
    ),
    "My friend forgot my birthday. How should I react?": (
        "mention it lightly over coffee",
        "let it pass and plan a dinner",
        "tell your friend how you felt",
    ),
    "How do I start exercising again?": (
        "walk for twenty minutes each morning",
        "join a small class nearby",
        "take the stairs instead of the lift",
    ),
    "What can I do on a rainy weekend?": (
        "visit the museum in town",
        "bake bread and read a long book",
        "invite friends for board games",
    ),
    "How can I get my children to eat vegetables?": (
        "let them help in the kitchen",
        "serve vegetables before the main dish",
        "grow tomatoes on the balcony",
    ),
    "Should I move to another city for work?": (
        "visit the city for a week first",
        "list the costs and the gains",
        "ask for a trial period",
    ),
    "How do I apologise to a colleague?": (
        "say sorry in person and name the mistake",
        "offer to repair what went wrong",
        "write a short honest message",
    ),
    "How can I keep my house cool in summer?": (
        "close the shutters before noon",
        "open the windows after sunset",
        "hang a wet sheet by the window",
    ),
    "What is the best way to study for an exam?": (
        "test yourself instead of rereading",
        "split the material into daily portions",
        "explain each topic aloud",
    ),
    "How do I tell my boss that I need a holiday?": (
        "name the dates well in advance",
        "finish the urgent work and then ask",
        "propose a colleague who can step in",
    ),
    "How can I stop a cold from getting worse?": (
        "rest and drink plenty of warm tea",
        "stay at home for two days",
        "breathe in steam in the evening",
    ),
    "Which pet is good for a small flat?": (
        "take in a calm older cat",
        "start with a pair of small birds",
        "look after a friend's dog first",
    ),
    "How can I make friends in a new town?": (
        "join the local choir or a sports club",
        "greet people at the market each week",
        "offer help at the neighbourhood fair",
    ),
    "How do I repair a dripping tap?": (
        "turn off the water and change the washer",
        "tighten the handle with a spanner",
        "call the plumber down the road",
    ),
    "How should I spend my first salary?": (
        "keep half and enjoy the rest",
        "pay back what you owe",
        "buy one thing that lasts for years",
    ),
    "My garden looks dull. What should I plant?": (
        "sow wildflowers along the fence",
        "plant herbs near the kitchen door",
        "set a small apple tree in the middle",
    ),
    "How do I calm down before a speech?": (
        "breathe slowly and count to ten",
        "learn the first two sentences by heart",
        "look at one friendly face",
    ),
    "How much time should children spend on screens?": (
        "allow one hour after homework",
        "switch everything off at dinner",
        "agree on fixed times each week",
    ),
}


def render_response(advice: str, levels: Mapping[str, int], generator: np.random.Generator) -> str:
    """Return a response that gives `advice` and shows one level of each attribute.

    Args:
        advice: A verb phrase ("take a slow walk").
        levels: Position of the level in `ATTRIBUTES[name]`, by attribute name.
        generator: Chooses among the phrasings.
    """
    sentences = []
    for name, choices in ATTRIBUTES.items():
        phrases = choices[levels[name]].phrases
        if phrases:
            sentences.append(phrases[generator.integers(len(phrases))].format(advice=advice))
    return " ".join(sentences)
