"""Words of a query other than names of sounds, as regular expressions of lower-case text."""

# Politeness and commands before the sound; removed until none matches.
OPENINGS = (
    r"(hey|hi|hello|ok|okay|so|well|now|um|uh|er)",
    r"(please|pls|plz|kindly|thanks)",
    r"(can|could|would|will) (you|we|u|i)( please)?",
    r"(i|we)( would|'d| just| only| really)* (want|wanna|need|like|love|wish|prefer)( to)?",
    r"(i'?m|i am|we'?re|we are) (looking|searching|listening) for",
    r"(let|help) (me|us)",
    r"(all )?(that )?(i|we) (want|need)( to (hear|keep|have))? is",
    r"(give|get|show|play|fetch|find|send|bring|leave|grant) (me|us)",
    r"filter for",
    r"(isolate|extract|separate|solo|keep|get|find|hear|listen to|leave|retain|preserve|select|pick)",
    r"(grab|capture|recover|retrieve|fetch|play|unmix|demix|target|detect|return|output|focus on)",
    r"(pull|single|pick|split|bring|separate|isolate) out",
    r"to (hear|get|keep|have|isolate|extract|separate)",
    r"(hear|have|see)(?= )",
    r"(just|only|solely|merely|simply|exclusively|purely|not just)",
    r"(nothing|none|no one|nobody) (but|except|other than)",
    r"(the |a |any |some )?(isolated|separated|extracted|solo(ed)?|clean|dry|pure|raw|lone) "
    r"(sound|audio|noise|track|stem|signal|recording|version)s? (of|from|made by|for)",
    r"(the |an? |any |some |all |all the |only the |every |loud |faint |distant )?"
    r"(sounds?|noises?|audio|recordings?|samples?|clips?|sfx|sound effects?|stems?|tracks?|parts?) "
    r"(of|from|made by|that is|which is|coming from|produced by|caused by|with|for)",
    r"(sfx|sound effects?|stem|query|target|sound|audio)\s*[:=-]",
    r"(there is|there's|there are|this is|that is|that's|it is|it's|here is|here's)",
    r"(everything|anything|whatever|all) (that )?(is|are|sounds like|belongs to|comes from)(?! not)",
    r"(what|something) (sounds|that sounds|sounding) like",
    r"of(?= )",
    r"hearing",
)
# The same after the sound.
ENDINGS = (
    r",? ?(please|pls|plz|thanks|thank you|thx|cheers|mate|will you|would you)",
    r",? ?(and|but|with)? ?(nothing|not anything|no ?thing) (else|more)( at all)?",
    r",? ?and that'?s (it|all)",
    r",? ?(only|alone|solo|by itself|by themselves|on its own|on their own|in isolation)",
    r",? ?(isolated|exclusively)",
    r",? ?without (any of )?(the )?"
    r"(others?|rest|other (sounds?|noises?|things?|stuff|sources?)|anything else|everything else)",
    r",? ?without (any )?(the )?background( noise)?",
    r",? ?and (no|not|none of the) (other|others|other sounds?|anything else)",
    r"(that |which )?(is |are |i hear |playing |heard |going on )?(somewhere )?"
    r"(in|from|out of|on|off|within|inside|of) (the|this|that|my|our) "
    r"(back ?ground|fore ?ground|recordings?|mix|mixture|audio|clip|track|file|song|scene|tape|video|"
    r"sound ?scape|soundtrack|piece|sample|rest|others?|whole)",
    r"from (everything|anything) else",
    r"(out of|from) (here|there|it|this)",
    r"(over|behind|underneath|beneath) (it|that|this|everything)( all)?",
    r"(at|to) the (end|start|beginning|front|back)( of (it|the (recording|clip|file)))?",
    r"i can hear",
)
EVERYTHING = (
    r"(everything|every ?thing|anything|all|all of it|all of this|whatever is left|what( i|')s left|"
    r"the rest|the remainder|the whole|"
    r"(all|every|any)( of)?( the)?( other| remaining)? ?"
    r"(sounds?|noises?|sources?|things?|stuff|audio|parts?|tracks?|stems?|else)?|"
    r"(the |this |that |whole |the whole |the entire |the full |the original |full |entire |original )?"
    r"(recording|mix|mixture|audio|file|clip|soundtrack|sound|scene|soundscape|tape))( else)?"
)
NOTHING = r"nothing|none|silence"
# Between a sound and what is removed from it.
LESS = (
    r"but (?:not|no|without|never)(?: for)?|but ?for|and (?:not|no|without)|"
    r"with (?:no|none of|out|the exception of)|without|w/o|except(?:ing)?(?: for| that)?|excluding|"
    r"exclusive of|apart from|aside from|other than|besides|minus|save for|sans|barring|"
    r"not counting|not including|leaving out|rather than|instead of|not|no"
)
# These are ambiguous and count only after "everything" or a comma.
WEAK_LESS = r"but|save|less|bar|beside|never"
# Before what is removed from everything.
REMOVE = (
    r"(?:remove|removing|cut|mute|muting|silence|suppress|eliminate|erase|delete|drop|discard|exclude|"
    r"omit|skip|cancel|subtract|attenuate|kill|ditch|lose|reject|ignore|block|wipe|scrub|"
    r"get rid of|getting rid of|do away with|dispose of|strip(?: out| away| off)?|"
    r"(?:filter|cut|take|edit|leave|block|clean|screen|tune|cancel|knock|shut|drop|throw|scrub|wipe) "
    r"(?:out|away|off)|"
    r"(?:not|don'?t|do not|never)(?: want| wanna| need| like)?(?: to)?"
    r"(?: hear| listen to| keep| have| include)?|"
    r"(?:i|we) (?:hate|(?:don'?t|do not|can'?t|cannot) (?:want|need|like|stand|wanna))"
    r"(?: to)?(?: hear| have| keep)?|"
    r"(?:anything|everything|all|something)(?: that| which)?(?:'s| is| are) ?(?:not|n't)|"
    r"(?:anything|everything|all|something)(?: that| which) (?:isn'?t|aren'?t)|"
    r"no|no more|neither|without|w/o|minus|not|non|except(?: for)?|excluding|"
    r"the (?:opposite|complement|inverse|absence|lack) of|absence of|lack of)"
)
REMOVE_AROUND = (  # the verb's particle after its object: "take the siren out", "drums removed"
    r"(?:take|cut|filter|leave|edit|strip|throw|scrub|get|turn) (.+) (?:out|away|off)",
    r"(?:make|keep) (.+) (?:go away|quiet|silent|disappear)",
    r"(.+?)[ -](?:removed|muted|silenced|excluded|deleted|cut out|taken out|filtered out|free)",
)
# "not the dog but the cat", "no drums, only the piano": what follows is the target.
TURN = (
    r",? ?(?:but|,|and|instead|rather) ?(?:only|just|keep|leave|instead|rather) |"
    r",? but (?!not\b|no\b|without\b|for\b)"
)
NO_VOCALS = (
    r"(the |an? )?(instrumentals?|karaoke|minus[ -]one|backing[ -]tracks?|music[ -]minus[ -]one)"
    r"( version| track| mix| stem| part| only)?"
)
VOCALS_ONLY = (
    r"(the |an? )?(a ?cappella|acapp?ella|acca?pella)s?( version| track| mix| stem| part| only)?"
)
VOCALS = "vocals"
COMMAS = (
    r"\s*(?:,|;|\+|/|&|\band\b|\bor\b|\bnor\b|\bplus\b|\bas well as\b|\b(?:together|along) with\b|"
    r"\balso\b)\s*"
)
JOINT = rf"(?:{COMMAS})+(?:(?:both|either|also|then|of|even)\b\s*)*"
