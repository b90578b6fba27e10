"""Captions: what to look for in a picture, and what it shows to those who cannot see it."""

CAPTIONS = {
    # How far
    (
        "The dashed curve counts every route, also past the recurrence: attention, pooling, skips, "
        "memory."
    ): ("파선은 어텐션, 풀링, 스킵, 메모리처럼 순환을 거치지 않는 경로까지 모두 합한 이득입니다."),
    (
        "Measured at the inputs by every route, relative to one step back: at lag 0 a model with "
        "skip connections shows the skip."
    ): (
        "입력에서 모든 경로를 합해 잰 이득을 한 스텝 전의 값에 견주었습니다. 시차 0의 값에는 스킵 "
        "연결이 나타납니다."
    ),
    (
        "Gain by lag: how much of the gradient of one loss is left k steps further back; the "
        "median over the batch and the loss steps, and the band of its quantiles. Under the dashed "
        "line less than 1 % is left, and there the horizon ends."
    ): (
        "시차별 이득: 손실 하나의 기울기가 k스텝을 거슬러 간 뒤에 얼마나 남는가. 배치와 손실 "
        "스텝에 대한 중앙값과 분위수 띠입니다. 점선 아래에서는 1 %도 남지 않으며, 거기서 지평이 "
        "끝납니다."
    ),
    (
        "How much of the gradient of one loss is left k steps further back in each network. Under "
        "the dashed line less than 1 % is left, and there the horizon ends."
    ): (
        "신경망마다 손실 하나의 기울기가 k스텝을 거슬러 간 뒤에 얼마나 남는가. 점선 아래에서는 1 "
        "%도 남지 않으며, 거기서 지평이 끝납니다."
    ),
    (
        "Lag matrix: each row is the loss at one step t, each column the state at a step k before "
        "it. Follow a row from the diagonal to the left, and you see that loss's gradient travel "
        "back. Grey would be exactly zero: a wall that nothing crosses."
    ): (
        "시차 행렬: 행은 스텝 t의 손실, 열은 그보다 앞선 스텝 k의 상태입니다. 한 행을 대각선에서 "
        "왼쪽으로 따라가면 그 손실의 기울기가 거슬러 가는 모습이 보입니다. 회색은 정확히 0, "
        "아무것도 넘지 못하는 벽입니다."
    ),
    (
        "Gradient through time: the direct one is what the loss at step t alone sends into the "
        "state, the total one adds everything that comes back from later steps. Where every step "
        "has a loss, the total is level even in a network that forgets."
    ): (
        "시간에 따른 기울기: 직접 기울기는 스텝 t의 손실만이 상태로 보내는 것이고, 전체 기울기는 "
        "뒤 스텝에서 돌아오는 것을 모두 더한 것입니다. 모든 스텝에 손실이 있으면, 과거를 잊는 "
        "신경망에서도 전체 기울기는 평평합니다."
    ),
    "Norm of the state through time: the median over the batch, and its quantiles.": (
        "시간에 따른 상태의 노름: 배치에 대한 중앙값과 분위수."
    ),
    # Why
    (
        "Where it begins: the first number that is not finite, and the steps that it spread to. "
        "Forward it spreads the way that the layer reads; back through time against it."
    ): (
        "시작된 곳: 처음으로 유한하지 않게 된 값과, 거기서 번진 스텝들. 순전파에서는 층이 읽는 "
        "방향으로, 시간 역전파에서는 그 반대 방향으로 번집니다."
    ),
    (
        "Where the decades go: each cause of a step of the gradient begins where the one before it "
        "ended, and together they are the whole."
    ): (
        "자릿수의 내역: 기울기가 한 스텝을 거슬러 갈 때의 원인별 변화입니다. 막대는 앞 막대가 끝난 "
        "곳에서 시작하며, 모두 더하면 전체가 됩니다."
    ),
    (
        "Below, the same trajectory with one thing changed: green keeps the gradient between 1 % "
        "and a hundredfold over the span."
    ): (
        "아래는 같은 궤적에서 한 가지만 바꾼 경우로, 초록이면 필요 거리까지 기울기가 1 %에서 100배 "
        "사이로 유지됩니다."
    ),
    (
        "Paths: by which way the gradient came back. The carousel is the straight way through the "
        "cell; the other leads through the gates and W_hh."
    ): (
        "경로: 기울기가 어느 길로 돌아왔는가. 캐러셀은 셀을 곧게 지나는 길이고, 다른 길은 게이트와 "
        "W_hh를 지납니다."
    ),
    (
        "Gates: how often each squashing function gave which output. At its ends it is stuck: its "
        "slope is below a tenth of its largest, and hardly a gradient passes."
    ): (
        "게이트: 각 압축 함수가 낸 출력의 분포. 양 끝에서는 포화되어 도함수가 최댓값의 10분의 "
        "1보다 작고, 기울기가 거의 지나가지 못합니다."
    ),
    (
        "Stuck by unit: the more colour, the more of its steps and sequences a unit is stuck. Full "
        "colour is a dead unit."
    ): (
        "유닛별 포화: 색이 짙을수록 더 많은 스텝과 시퀀스에서 포화된 유닛입니다. 가장 짙은 색은 "
        "죽은 유닛입니다."
    ),
    "Stuck by time: the share of units and sequences that is stuck at each step.": (
        "스텝별 포화: 스텝마다 포화된 유닛과 시퀀스의 비율."
    ),
    # A deeper look
    (
        "Share of the update by lag: how much of the gradient of W_hh comes from how many steps "
        "back. Bars that are next to nothing are a past that never moves the weights."
    ): (
        "시차별 갱신 비율: W_hh의 기울기 가운데 몇 스텝 전에서 온 것이 얼마나 되는가. 막대가 거의 "
        "없는 시차는 가중치를 움직이지 못하는 과거입니다."
    ),
    (
        "Input memory: how strongly the state still depends on the input of k steps ago, "
        "‖∂sₜ/∂xₜ₋ₖ‖; the median and the band of its quantiles."
    ): (
        "입력 기억: 상태가 k스텝 전의 입력에 아직 얼마나 의존하는가, ‖∂sₜ/∂xₜ₋ₖ‖. 중앙값과 분위수 "
        "띠입니다."
    ),
    (
        "Memory capacity: how well a linear read-out of the state recovers the input of k steps "
        "ago, on data that it was not fitted to. The dashed baseline reads the present input in "
        "place of the state: what lies above it is memory."
    ): (
        "기억 용량: 상태에서 k스텝 전의 입력을 선형으로 얼마나 복원할 수 있는가. 맞출 때 쓰지 않은 "
        "데이터에서 잰 값입니다. 점선(기준선)은 상태 대신 현재 입력만 읽은 것으로, 그보다 위에 "
        "있는 만큼이 기억입니다."
    ),
    (
        "Lyapunov exponents: the rates at which nearby states part along your data. One above the "
        "dashed line is chaos: gradients grow without end. All well below it: they vanish."
    ): (
        "랴푸노프 지수: 가까운 두 상태가 실제 데이터를 따라가며 벌어지는 속도. 하나라도 점선 위에 "
        "있으면 카오스이고 기울기가 끝없이 커집니다. 모두 한참 아래에 있으면 기울기가 소실됩니다."
    ),
    (
        "Eigenvalues of W_hh: for each gate, around the unit circle; ρ is the spectral radius. "
        "They say what W_hh alone would do after many steps, not what the network does on data."
    ): (
        "W_hh의 고윳값: 게이트별로 단위원과 함께 그렸습니다. ρ는 스펙트럼 반지름입니다. W_hh만으로 "
        "여러 스텝 뒤에 일어날 일을 말해 줄 뿐, 데이터 위에서 신경망이 하는 일은 아닙니다."
    ),
    (
        "Singular values of W_hh: what one step of W_hh can do to a gradient, direction by "
        "direction. Those under the dashed line shrink it."
    ): (
        "W_hh의 특잇값: W_hh의 한 스텝이 방향별로 기울기에 할 수 있는 일. 점선 아래의 방향에서는 "
        "기울기가 줄어듭니다."
    ),
    (
        "Norm condition: the rate that the largest singular value of W_hh allows at most, and the "
        "rate that was measured. A bound above 0 proves nothing; one below 0 proves that gradients "
        "vanish."
    ): (
        "노름 조건: W_hh의 최대 특잇값이 허용하는 변화율의 상한과 실제로 측정한 변화율. 상한이 "
        "0보다 크면 아무것도 증명하지 못하고, 0보다 작으면 기울기 소실이 증명됩니다."
    ),
    # For those who cannot see
    "Gain by lag.": "시차별 이득.",
    "Gain by lag of {name}.": "{name}의 시차별 이득.",
    "Horizon: {reach}.": "지평: {reach}.",
    "Median {first} at lag {start}, {last} at lag {end}.": (
        "중앙값은 시차 {start}에서 {first}, 시차 {end}에서 {last}."
    ),
    "Median {first} at step {start}, {last} at step {end}.": (
        "중앙값은 스텝 {start}에서 {first}, 스텝 {end}에서 {last}."
    ),
    "Lag matrix of {name}: {number} losses, each at every step.": (
        "{name}의 시차 행렬: 손실 {number}개를 모든 스텝에 대하여."
    ),
    "From {least} to {most}.": "{least}부터 {most}까지.",
    "{share} of it is exactly zero.": "{share}는 정확히 0.",
    "Gradients through time of {name}.": "{name}의 시간에 따른 기울기.",
    "States through time of {name}.": "{name}의 시간에 따른 상태.",
    "Decades per step of {name}.": "{name}의 스텝당 자릿수.",
    "Paths of {name}.": "{name}의 경로.",
    "Share of the update of {name} by lag.": "{name}의 시차별 갱신 비율.",
    "Input memory of {name}.": "{name}의 입력 기억.",
    "Memory capacity of {name}.": "{name}의 기억 용량.",
    "Lyapunov exponents of {name}.": "{name}의 랴푸노프 지수.",
    "Eigenvalues of W_hh of {name}.": "{name}의 W_hh 고윳값.",
    "Singular values of W_hh of {name}.": "{name}의 W_hh 특잇값.",
}
