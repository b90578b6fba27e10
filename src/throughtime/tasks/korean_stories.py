"""The sentences of the Korean name-recall stories: each particle fits the name before it.

The gap is that of  영희는 [철수]에게 인사했다.  It follows the topic of the sentence.
"""

from throughtime.tasks.korean import subject, topic
from throughtime.tasks.stories import Storyteller

KOREAN = Storyteller(
    names=("철수", "민수", "준호", "현우", "영민", "지훈", "동현", "재석"),
    visitors=("영희", "민지", "수아", "미라", "서연", "지은", "유진", "은정"),
    openings=(
        "{topic} 방에서 TV를 보고 있었다.",
        "{topic} 거실에서 책을 읽고 있었다.",
        "{topic} 라디오를 듣고 있었다.",
        "{topic} 방에 앉아 있었다.",
        "{topic} 숙제를 하고 있었다.",
        "{topic} 혼자 쉬고 있었다.",
        "{topic} 쉬고 있었다.",
        "{topic} 기다렸다.",
    ),
    arrivals=(
        "{subject} 방에 들어왔다.",
        "{subject} 문을 열었다.",
        "{subject} 들어왔다.",
    ),
    question="{topic}",
    fillers=(
        "밖은 추웠다.",
        "밤이 깊었다.",
        "비가 내렸다.",
        "바람이 불었다.",
        "몹시 추웠다.",
        "벌써 어두웠다.",
        "무척 조용했다.",
        "꽤 늦은 시간이었다.",
        "어느새 해가 졌다.",
        "거리는 한산했다.",
        "창문이 조금 열려 있었다.",
        "옆집 개가 크게 짖었다.",
        "버스 한 대가 지나갔다.",
        "멀리서 기차 소리가 들려왔다.",
        "라디오에서 노래가 흘러나왔다.",
        "시계가 세 시를 가리켰다.",
        "고양이가 소파에서 자고 있었다.",
        "부엌에서 물 끓는 소리가 났다.",
        "책상 위에 컵이 하나 놓여 있었다.",
        "식탁에는 사과 두 개가 놓여 있었다.",
    ),
    forms={"topic": topic, "subject": subject},
    example="철수는 방에서 TV를 보고 있었다. … 영희가 방에 들어왔다. 영희는 [철수]에게 인사했다.",
)
