"""Word lists by which phrases.py splits captions."""

from __future__ import annotations

DETERMINERS = frozenset({"a", "an", "the", "some", "several", "many", "two", "three", "another"})
AUXILIARIES = frozenset(
    {"is", "are", "was", "were", "can", "has", "have", "being", "gets", "starts"}
)
PRONOUNS = frozenset({"he", "she", "it", "they"})
ADJECTIVES = frozenset(
    """loud quiet soft deep low high high-pitched pitched faint distant constant continuous rapid slow fast
    heavy light gentle sharp short long brief muffled metallic mechanical electronic strong steady
    rhythmic repeated repetitive harsh rough smooth big small large little old young adult male female
    very shrill hollow dull clear dry wet hard sudden wooden""".split()
)
AGENTS = frozenset(
    """man men woman women boy boys girl girls child children baby babies person people adult adults kid
    kids male female males females crowd audience dog dogs puppy puppies cat cats kitten kittens bird
    birds horse horses cow cows pig pigs goat goats sheep duck ducks goose geese rooster roosters hen
    hens chicken chickens frog frogs insect insects cricket crickets lion lions wolf wolves monkey
    monkeys owl owls crow crows pigeon pigeons rat rats mouse mice bee bees speaker singer guy lady
    teenager toddler""".split()
)
SOUND_VERBS = frozenset(
    """bark growl howl whine whimper pant yip snarl meow purr hiss mew yowl moo neigh whinny snort oink
    squeal bleat baa cluck crow quack honk caw coo hoot chirp tweet sing squawk screech croak ribbit
    buzz roar grunt squeak speak talk chat laugh giggle chuckle cry sob wail scream shout yell whisper
    mumble murmur mutter cough sneeze snore breathe gasp sigh yawn burp hiccup gargle sniff sniffle chew
    eat drink slurp swallow cheer clap applaud chant hum whistle narrate babble chatter converse
    announce preach lecture read count fall pour drip splash trickle flow gurgle bubble run rush crash
    lap slosh spray squirt pitter patter blow rustle howl gust rumble thunder crack crackle burn sizzle
    pop fizz boil fry rev idle accelerate hum whir drone sputter backfire skid vibrate clank clatter
    rattle rev start ring chime toll beep blare wail honk blow sound tick click clack tap knock bang
    slam thud thump pound hammer saw drill scrape scratch creak squeal grind crunch crumple tear rip
    snap shatter break smash drop jingle jangle clink tinkle ding play strum pluck bow beat roll type
    write walk run step stomp gallop trot march drive pass approach move turn open close shut flush spin
    swing flap flutter fly explode fire shoot launch echo reverberate oscillate shuffle cut chop slice
    stir cook vacuum sweep wash brush zip unzip shake whoosh swoosh whirr splatter""".split()
)
# Verbs whose last letter is doubled before "ing".
DOUBLED = frozenset(
    """yip sob hum clap drip slap flap slam tap rip snap drop chop stir run spin skid pop zip unzip step
    trot strum cut whir shut""".split()
)
# Gerunds that name a sound without an agent.
INDEPENDENT = frozenset(
    """typing hammering sawing drilling clapping applause knocking frying cooking thunder thundering
    washing writing sweeping vacuuming ticking ringing""".split()
)
# Fragments of captions that name no sound.
ALONE = frozenset(
    """stops pauses repeats continues starts ends fades once twice again it they nothing silence background
    noise-free others something someone somebody a the""".split()
)
LEAD_INS = (
    "(?:the |a )?sound mixture of",
    "(?:the |a )?sounds? of",
    "(?:the |a )?recording of",
    "(?:the |a )?noises? of",
    "there (?:is|are|was|were)",
    "(?:you|we|one) (?:can |could )?hears?",
    "i hear",
    "then",
    "also",
    "and",
    "finally,?",
    "eventually,?",
    "suddenly,?",
    "later,?",
    "afterwards,?",
    "in the (?:background|distance|foreground),?",
)
TAILS = (
    "in the (?:near |far )?(?:background|distance|foreground)",
    "(?:from )?far away",
    "nearby",
    "at the same time",
    "simultaneously",
    "again",
    "can be heard",
    "is heard",
    "are heard",
)
UNSEPARATED = (
    "rock and roll",
    "drum and bass",
    "drums and bass",
    "pots and pans",
    "bow and arrow",
    "back and forth",
    "up and down",
    "on and off",
    "over and over",
    "again and again",
    "black and white",
    "salt and pepper",
    "such as",
    "as if",
    "as though",
    "same as",
    "with a stick",
    "with reverb",
    "with echo",
)
