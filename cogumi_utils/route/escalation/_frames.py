"""A small grammar of what people say to and about a service, so that the teacher can be asked about most of it.

Nothing here has a label, and most sentences nobody would say. Doubled entries are drawn twice as often, an empty one
leaves the place out.
"""

from __future__ import annotations

SLOTS = {
    "adjective": (
        "good|bad|great|awful|terrible|nice|slow|fast|useless|helpful|helpless|rude|polite|kind|unfair|fair|"
        "happy|unhappy|angry|sad|tired|annoyed|disappointed|satisfied|frustrated|upset|furious|glad|pleased|"
        "confused|clear|unclear|wrong|right|correct|false|true|stupid|silly|clever|broken|fine|okay|perfect|"
        "horrible|poor|cheap|expensive|easy|hard|difficult|impossible|ridiculous|pathetic|incompetent|"
        "professional|friendly|patient|impatient|worried|sorry|grateful|late|early|new|old|long|short|ready|"
        "empty|full|sick|ill|worse|better|worst|best|disgusting|shocking|amazing|brilliant|wonderful|lovely|"
        "hopeless|pointless|meaningless|unhelpful|careless|lazy|dishonest|honest|reliable|unreliable|"
        "embarrassing|outrageous|acceptable|unacceptable|enough|strange|funny|serious|urgent|simple"
    ).split("|"),
    "do": (
        "want|need|get|see|find|send|receive|order|pay|buy|cancel|return|change|keep|lose|break|fix|repair|solve|"
        "answer|ask|call|write|tell|read|check|understand|explain|help|use|open|close|try|trust|believe|"
        "recommend|expect|promise|deliver|refund|replace|ignore|forget|remember|waste|stop|start|finish|leave|"
        "hate|love|like|miss|reach|update|delete|confirm|accept|refuse|repeat|blame|cheat|fool|insult|thank"
    ).split("|"),
    "act": (
        "work|help|wait|happen|stop|start|change|come|arrive|go|fail|crash|sleep|cry|laugh|leave|die|listen|care|"
        "reply|respond|answer|matter|exist|end|call"
    ).split("|"),
    "doing": (
        "waiting|asking|trying|calling|writing|getting|working|talking|repeating|explaining|looking|hoping|"
        "paying|lying|joking|kidding|wasting|losing|thinking|leaving|complaining|guessing|reading|going|moving|"
        "travelling"
    ).split("|"),
    "object": (
        "it|this|that|an answer|my money|the money|my order|the order|a refund|the account|my account|"
        "your company|your service|your help|the app|the website|the product|the phone|the letter|the bill|"
        "the house|a person|a human|a manager|somebody|someone|anybody|my time|my question|my problem|"
        "the problem|my message|your message|the same thing|nothing|everything|anything|something|the form|"
        "the contract|the price|the car|the train|the doctor|my mother|my son|my wife|the weather|the film|"
        "the game|the food|the school|work|the truth|the rules|the wrong one|the right one|another one|"
        "a solution|a result|a word|the point|a joke|the date|the address|the code|the link|the file|the key"
    ).split("|"),
    "who": (
        "I|I|I|you|you|you|we|they|it|this|that|nobody|no one|somebody|everybody|the system|the app|your company|"
        "your team|your people|the bot|this chat|this service|my friend|my brother|my boss|my neighbour|"
        "the weather|the film|the driver|the doctor|the shop|the product|the answer|one of you|none of you"
    ).split("|"),
    "modal": (
        "|||will|will not|can|cannot|could|could not|should|should not|would|would not|do not|did not|never|"
        "always|still|just|already|must|have to|want to|need to|tried to|used to|am going to|keep trying to|"
        "failed to|managed to|refuse to|promised to|forgot to|really"
    ).split("|"),
    "be": (
        "is|was|is not|was not|am|are|are not|will be|has been|seems|looks|feels|sounds|gets|became|is always|"
        "is still|is never|is getting|could be|should be|must be"
    ).split("|"),
    "very": (
        "so|very|really|too|not|quite|a bit|totally|absolutely|simply|rather|extremely|just|completely|beyond|"
        "not very|not so|more|much more|as always|kind of|pretty"
    ).split("|"),
    "tail": (
        "||||||now|today|again|anymore|at all|please|thanks|thank you|for days|for weeks|for hours|every time|"
        "this time|last week|yesterday|tomorrow|so far|yet|already|once more|by mistake|with you|with this|"
        "for me|for nothing|here|there|at home|as usual|as promised|as I said|by now|forever|any longer|for once|"
        "instead|or not|right|or what|honestly|seriously|to be honest|in my life|by the way|any more|right now|"
        "straight away|if possible|when you can"
    ).split("|"),
    "head": (
        "||||||well|so|no|yes|ok|but|and|sorry|please|oh|look|listen|honestly|seriously|thanks|thank you|wow|"
        "great|hello|hi|wait|actually|sure|fine|right|again|really|my god|come on|guys|sir|dear team|"
        "unfortunately|luckily|finally|apparently|obviously|of course|clearly|as far as I know|I think|I guess|"
        "I hope|I am afraid|I am sure|I see|it seems"
    ).split("|"),
    "why": (
        "why|how|when|where|what|who|how often|how long|how many times|since when|until when|why on earth|"
        "how come|what else|what the hell|how hard can it be to"
    ).split("|"),
    "noun": (
        "service|company|support|answer|joke|shame|waste of time|waste of money|mess|disaster|nightmare|scam|"
        "fraud|lie|liar|thief|robot|bot|machine|fool|idiot|customer|person|human|help|problem|mistake|error|"
        "question|idea|choice|surprise|pleasure|miracle|circus|disgrace|insult|experience|attitude|quality|"
        "system|process|product|deal|day|week|place|story|way|thing|circle|wall|loop|success|relief|gift"
    ).split("|"),
    "quantity": (
        "no|not one|zero|enough|another|the same|too much|so much|more|any|only|what a|such a|some|this|that|"
        "your|my|the|a|half a|worst|best|first|last|third|fourth"
    ).split("|"),
}  # fmt: skip
FRAMES = [
    "{who} {modal} {do} {object} {tail}",
    "{who} {modal} {act} {tail}",
    "{who} {be} {very} {adjective} {tail}",
    "{who} {be} {adjective} {tail}",
    "{who} {be} {quantity} {noun} {tail}",
    "{quantity} {noun} {tail}",
    "{very} {adjective} {tail}",
    "{adjective} {noun} {tail}",
    "{why} {modal} {who} {do} {object} {tail}?",
    "{why} {be} {who} {very} {adjective}?",
    "{why} do I {do} {object}?",
    "{why} does {who} {do} {object} {tail}?",
    "{do} {object} {tail}",
    "do not {do} {object} {tail}",
    "please {do} {object}",
    "can you {do} {object} {tail}?",
    "can {who} {do} {object} {tail}?",
    "could you please {do} {object}?",
    "do you {do} {object}?",
    "do you even {do} {object}?",
    "did you {do} {object} {tail}?",
    "is {who} {adjective}?",
    "are you {adjective}?",
    "are you {doing} {object}?",
    "are you {doing}?",
    "stop {doing} {object}",
    "I am {doing} {tail}",
    "I am {doing} {object} {tail}",
    "{who} {be} {doing} {tail}",
    "I have been {doing} {tail}",
    "I am {very} {adjective} {tail}",
    "I am {adjective} with {object}",
    "I feel {adjective} about {object}",
    "this is {very} {adjective}",
    "that is {very} {adjective}",
    "you are {very} {adjective}",
    "you {modal} {do} {object} {tail}",
    "you {modal} {do} me {tail}",
    "{who} made me {adjective}",
    "{who} told me to {do} {object}",
    "you said you would {do} {object}",
    "{who} said that {who} {modal} {do} {object}",
    "I want to {do} {object} {tail}",
    "I would like to {do} {object} {tail}",
    "I will {do} {object} {tail}",
    "let me {do} {object}",
    "there is {quantity} {noun} {tail}",
    "where is {object} {tail}?",
    "what about {object}?",
    "if {who} {modal} {do} {object} I {modal} {do} {object}",
    "{who} {modal} {do} {object} but {who} {modal} {do} {object}",
    "{who} {modal} {do} {object} because {who} {be} {adjective}",
    "it takes {very} {adjective} {noun}",
    "{quantity} {noun} for {object}",
    "thanks for {object}",
    "thanks for {doing} {object}",
    "thanks for {quantity} {noun}",
    "not {adjective}",
    "not {doing} {object}",
    "my {noun} {be} {adjective}",
    "your {noun} {be} {very} {adjective}",
    "the {noun} {be} {very} {adjective}",
    "I {modal} {do} your {noun} {tail}",
    "I {modal} {do} my {noun} {tail}",
    "who {modal} {do} {object}?",
    "and {quantity} {noun}?",
    "{noun} {noun}",
    "{do} {object}?",
    "nothing but {noun}",
]
