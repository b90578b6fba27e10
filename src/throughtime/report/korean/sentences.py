"""Sentences: what was measured in one line, what to do next, what a word means, what is missing."""

SENTENCES = {
    # In one line
    "ten times smaller every {number} steps": "{number}스텝마다 10분의 1",
    "ten times larger every {number} steps": "{number}스텝마다 10배",
    (
        "Less than 1 % of the update of the recurrent weights comes from more than {lag} steps "
        "back: nothing older ever moves them."
    ): (
        "순환 가중치의 갱신에서 {lag}스텝보다 먼 과거가 차지하는 비율은 1 % 미만입니다. 그보다 "
        "오래된 것은 가중치를 움직이지 못합니다."
    ),
    "Stuck: {shares}.": "포화: {shares}.",
    "Largest Lyapunov exponent: {number} nats per step, which is {decades} decades.": (
        "최대 랴푸노프 지수: 스텝당 {number} nat, 곧 {decades} 데케이드."
    ),
    "The norm of W_hh allows at most {bound} decades per step; measured were {measured}.": (
        "W_hh의 노름이 허용하는 상한은 스텝당 {bound}자릿수이고, 측정값은 {measured}자릿수입니다."
    ),
    (
        "Memory capacity (R² over all lags): {held} inputs from the state, {baseline} from the "
        "present input alone."
    ): (
        "기억 용량(모든 시차의 R² 합): 상태에서 읽으면 입력 {held}개, 현재 입력만으로는 "
        "{baseline}개."
    ),
    "The states fill {rank} of their {size} directions (effective rank).": (
        "상태는 {size}개 방향 가운데 {rank}개를 채웁니다(유효 계수)."
    ),
    (
        "The losses ask for {asked} directions of the state, and after the span {left} of them are "
        "left (participation ratio)."
    ): (
        "손실은 상태의 방향 {asked}개를 필요로 하지만, 필요 거리만큼 거슬러 가면 {left}개만 "
        "남습니다(참여비)."
    ),
    # What to do next
    (
        "The gradient explodes on its way back. Clip it with torch.nn.utils.clip_grad_norm_ and "
        "error_if_nonfinite=True, start W_hh orthogonal, or shorten the window."
    ): (
        "기울기가 과거로 거슬러 가면서 폭주합니다. torch.nn.utils.clip_grad_norm_에 "
        "error_if_nonfinite=True를 주어 클리핑하고, W_hh를 직교 행렬로 초기화하거나 구간을 "
        "줄이십시오."
    ),
    "In float16 also lower the scale of the loss.": ("float16에서는 손실 스케일도 낮추십시오."),
    (
        "The state grows beyond {limit}, the largest number of float16: use bfloat16 or float32 "
        "for this layer."
    ): (
        "상태가 float16의 최댓값 {limit}을 넘습니다. 이 층에는 bfloat16이나 float32를 사용하십시오."
    ),
    (
        "The state grows beyond {limit}, the largest number of {dtype}; a wider format would only "
        "delay that."
    ): (
        "상태가 {dtype}의 최댓값 {limit}을 넘습니다. 더 넓은 자료형을 써도 시점만 늦춰질 뿐입니다."
    ),
    "Bound the state (tanh in place of ReLU), or make W_hh smaller.": (
        "ReLU 대신 tanh를 써서 상태를 유계로 만들거나 W_hh를 작게 하십시오."
    ),
    "Make the recurrent and the input weights smaller.": (
        "순환 가중치와 입력 가중치를 작게 하십시오."
    ),
    "Scale the input of the layer to mean 0 and variance 1, or make W_ih smaller.": (
        "층의 입력을 평균 0, 분산 1로 정규화하거나 W_ih를 작게 하십시오."
    ),
    (
        "Check what the model does to the state between two calls of the layer: a mask, a "
        "division, a normalisation. Test the state with torch.isfinite(h).all() before and after "
        "it."
    ): (
        "층의 호출과 호출 사이에서 모델이 상태에 하는 일(마스크, 나눗셈, 정규화)을 확인하십시오. "
        "그 앞뒤에서 torch.isfinite(h).all()로 상태를 검사하십시오."
    ),
    (
        "The model itself makes it, not the data. Check the operation that is named, with "
        "torch.isfinite before and after it: a division by zero, a logarithm or square root of 0, "
        "an overflow."
    ): (
        "데이터가 아니라 모델이 만든 값입니다. 위에 적힌 연산의 앞뒤를 torch.isfinite로 검사해 "
        "0으로 나눈 값, 0의 로그나 제곱근, 오버플로가 있는지 확인하십시오."
    ),
    (
        "Fill the padding with zeros where the batch is made, or pack the batch with "
        "pack_padded_sequence, so that no layer reads the padding."
    ): (
        "배치를 만드는 곳에서 패딩을 0으로 채우거나, pack_padded_sequence로 묶어 층이 패딩을 "
        "읽지 않게 하십시오."
    ),
    (
        "Run this step again with the same input, and test the result of each of its operations "
        "with torch.isfinite; for the backward pass use torch.autograd.detect_anomaly()."
    ): (
        "같은 입력으로 이 스텝을 다시 실행해 연산마다 결과를 torch.isfinite로 검사하십시오. "
        "역전파라면 torch.autograd.detect_anomaly()를 사용하십시오."
    ),
    (
        "An earlier update broke the weights, not this batch. Go back to the last checkpoint that "
        "is finite, capture the update after it, clip its gradient and lower the learning rate; "
        "refuse an update whose gradient is not finite."
    ): (
        "이 배치가 아니라 앞선 갱신이 가중치를 망가뜨렸습니다. 값이 유한한 마지막 체크포인트로 "
        "돌아가 그다음 갱신을 캡처하고, 기울기를 클리핑하고 학습률을 낮추세요. 기울기가 유한하지 "
        "않은 갱신은 건너뛰세요."
    ),
    (
        "The data brings it. Check each batch with torch.isfinite(x).all() where it is made, and "
        "look in this sample for a division by zero, a logarithm of zero, or a gap that was read "
        "as NaN."
    ): (
        "데이터에 들어 있는 값입니다. 배치를 만드는 곳에서 torch.isfinite(x).all()로 확인하고, 이 "
        "샘플에 0으로 나눈 값, 0의 로그, NaN으로 읽힌 결측값이 있는지 찾아보세요."
    ),
    (
        "Check the state that is carried over from one window to the next: where was it last "
        "finite? Begin this window with a state of zeros, and detach it."
    ): (
        "구간에서 구간으로 넘겨주는 상태를 확인하세요. 마지막으로 유한했던 곳이 어디입니까? 이 "
        "구간은 0으로 채운 상태로 시작하고, 넘겨줄 때는 detach하세요."
    ),
    (
        "The state grows until the number format ends. Bound the state (tanh in place of ReLU), or "
        "make W_hh smaller."
    ): (
        "상태가 수 표현의 한계까지 커졌습니다. ReLU 대신 tanh를 써서 상태를 유계로 만들거나 "
        "W_hh를 작게 하십시오."
    ),
    (
        "Look at the loss of this step and sample: a logarithm or square root of 0, or 0/0. Take "
        "the form that works on logits (cross_entropy, binary_cross_entropy_with_logits), or put a "
        "small constant inside the root."
    ): (
        "이 스텝, 이 샘플의 손실을 살펴보세요. 0의 로그나 제곱근, 0/0이 흔한 원인입니다. 로짓을 "
        "받는 함수(cross_entropy, binary_cross_entropy_with_logits)를 쓰거나 제곱근 안에 작은 "
        "상수를 더하세요."
    ),
    "Capture the update before this one, and see whether its numbers are still finite.": (
        "이보다 앞선 갱신을 캡처해 그 값이 아직 유한한지 확인하세요."
    ),
    # What is missing, and what is left out
    "No lags: there was no step to travel back.": "시차 없음: 거슬러 갈 스텝이 없습니다.",
    "No lag matrix was measured.": "시차 행렬을 측정하지 않았습니다.",
    "No gradients through time were measured.": "시간에 따른 기울기를 측정하지 않았습니다.",
    "No states through time were measured.": "시간에 따른 상태를 측정하지 않았습니다.",
    "No budget was measured.": "자릿수의 내역을 측정하지 않았습니다.",
    "No paths were measured.": "경로를 측정하지 않았습니다.",
    "No norm condition was measured.": "노름 조건을 측정하지 않았습니다.",
    "No gates were measured.": "게이트를 측정하지 않았습니다.",
    "No exponents were measured.": "지수를 측정하지 않았습니다.",
    "No eigenvalues were measured.": "고윳값을 측정하지 않았습니다.",
    "No singular values were measured.": "특잇값을 측정하지 않았습니다.",
    "No input memory was measured.": "입력 기억을 측정하지 않았습니다.",
    "No memory capacity was measured.": "기억 용량을 측정하지 않았습니다.",
    "No contributions were measured.": "갱신에 대한 기여를 측정하지 않았습니다.",
    "It is not known at which step.": "어느 스텝인지 알 수 없습니다.",
    "Nothing was measured along time: the sequence has one step, or the batch is empty.": (
        "시간을 따라 측정한 것이 없습니다. 시퀀스가 한 스텝이거나 배치가 비어 있습니다."
    ),
    (
        "More pictures are left out, to keep this file small; throughtime.report.figures draws "
        "them."
    ): (
        "파일을 작게 유지하려고 나머지 그림은 뺐습니다. throughtime.report.figures로 그릴 수 "
        "있습니다."
    ),
    "{number} more layers have no section of their own.": (
        "나머지 층 {number}개는 따로 싣지 않았습니다."
    ),
    "{number} more layers: the JSON has them all.": "나머지 층 {number}개는 JSON에 모두 있습니다.",
    "{disease}: {number} more, all in the JSON.": "{disease}: JSON에 {number}건 더 있습니다.",
    "Written by throughtime {version}. This file needs no network and runs no script.": (
        "throughtime {version}으로 작성했습니다. 이 파일은 네트워크가 필요 없고 스크립트를 "
        "실행하지 않습니다."
    ),
    # What a word means
    "Total gradient": "전체 기울기",
    "Direct gradient": "직접 기울기",
    "Stuck": "포화",
    "Carousel": "캐러셀",
    "Confidence": "신뢰도",
    (
        "How large the gradient of one loss still is k steps back, compared with where it started: "
        "‖∂Lₜ/∂sₜ₋ₖ‖ / ‖∂Lₜ/∂sₜ‖."
    ): (
        "손실 하나의 기울기가 k스텝을 거슬러 간 뒤에도 처음에 견주어 얼마나 남아 있는가: "
        "‖∂Lₜ/∂sₜ₋ₖ‖ / ‖∂Lₜ/∂sₜ‖."
    ),
    "The distance k back from a loss at step t to the state at step t−k.": (
        "스텝 t의 손실에서 스텝 t−k의 상태까지 거슬러 간 거리 k."
    ),
    "The largest lag at which the gain is still at least 1 %.": "이득이 1 % 이상인 가장 먼 시차.",
    "How far back the task needs to see.": "과제가 보아야 하는 과거까지의 거리.",
    (
        "The slope of log10 gain, in decades (factors of ten) per step. Negative vanishes, "
        "positive explodes."
    ): (
        "이득의 log10이 변하는 기울기. 단위는 스텝당 자릿수(10의 거듭제곱)이며, 음수면 소실, "
        "양수면 폭발."
    ),
    "∂L/∂sₜ: what the loss at step t and everything after it send into the state.": (
        "∂L/∂sₜ: 스텝 t의 손실과 그 뒤의 모든 것이 상태로 보내는 기울기."
    ),
    "What the loss at step t alone sends into the state.": (
        "스텝 t의 손실만이 상태로 보내는 기울기."
    ),
    (
        "A squashing function whose slope is below a tenth of its largest: hardly a gradient "
        "passes. A unit that is stuck at every step is dead."
    ): (
        "압축 함수의 도함수가 최댓값의 10분의 1보다 작아 기울기가 거의 지나가지 못하는 상태. 모든 "
        "스텝에서 포화된 유닛은 죽은 유닛."
    ),
    (
        "The straight way through the cell of an LSTM (c) or through the state of a GRU, beside "
        "the ways through the gates."
    ): ("LSTM의 셀(c)이나 GRU의 상태를 곧게 지나는 길. 게이트를 지나는 길과 구별함."),
    "How sure: the share of what was measured (sequences, loss steps) that says the same.": (
        "측정한 것(시퀀스, 손실 스텝) 가운데 같은 결론을 보이는 비율."
    ),
}
