"""A character-level LSTM by hand, from text to sample. Read it from top to bottom; docs/lstm.md derives every line.

    python examples/lstm_by_hand.py corpus.txt

T time steps in a window, V vocabulary size, H hidden units. One layer reads one stream. z is a gate before activation;
g, i, f and o are the gates after it. dc is the gradient of the loss with respect to c. All arrays are float64.
"""

import sys
from pathlib import Path

import numpy as np

H, T, RATE, STEPS, SEED = 64, 50, 1e-2, 3000, 1
POSTS = Path(__file__).resolve().parents[1] / "data" / "tweets.txt"

# From text to ids: a character's id is its rank among the distinct characters.
text = Path(sys.argv[1] if __name__ == "__main__" and sys.argv[1:] else POSTS).read_text(encoding="utf-8")
if len(text) < 2:
    sys.exit("the text needs at least two characters")
characters = sorted(set(text))
vocab_size = V = len(characters)
ids = np.searchsorted(characters, list(text))

# Initial weights: small, so that the first predictions are almost uniform. A forget bias of 1 lets the cell remember.
rng = np.random.default_rng(SEED)
params = {
    "w_x": rng.uniform(-1, 1, (4 * H, V)) / np.sqrt(H),  # rows g, i, f, o; a column per id
    "w_h": rng.uniform(-1, 1, (4 * H, H)) / np.sqrt(H),
    "b": np.concatenate([np.zeros(2 * H), np.ones(H), np.zeros(H)]),
    "w_out": rng.uniform(-1, 1, (V, H)) / np.sqrt(H),
    "b_out": np.zeros(V),
}


def windows(ids):
    """Cut a text into windows, in order: x and y [T], where y[t] is the character after x[t]."""
    for start in range(0, len(ids) - 1, T):
        window = ids[start : start + T + 1]
        yield window[:-1], window[1:]


def zero_state():
    """Return h and c [H] before the first character."""
    return np.zeros(H), np.zeros(H)


def sigmoid(z):
    """Squash z into 0 to 1."""
    return 1 / (1 + np.exp(-z))


def softmax(logits):
    """Turn logits into probabilities [V]. Subtracting the maximum changes nothing, but exp cannot overflow."""
    exps = np.exp(logits - logits.max())
    return exps / exps.sum()


def cell(params, x, h_prev, c_prev):
    """Read the character with the id x: return the new h and c [H], and the gates."""
    z = params["w_x"][:, x] + params["w_h"] @ h_prev + params["b"]  # [4H]; column x is w_x @ one_hot(x)
    z_g, z_i, z_f, z_o = z.reshape(4, -1)  # [H] each
    g = np.tanh(z_g)  # candidate: what could be stored
    i = sigmoid(z_i)  # input gate: how much of it is stored
    f = sigmoid(z_f)  # forget gate: how much of the old cell state is kept
    o = sigmoid(z_o)  # output gate: how much of the cell state is output
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    return h, c, (g, i, f, o)


def forward(params, x, y, state):
    """Read a window: return the mean loss in nats, the values that `backward` needs, and the state after it."""
    h, c = state
    loss, steps = 0.0, []
    for t in range(len(x)):
        h_prev, c_prev = h, c
        h, c, gates = cell(params, x[t], h, c)
        logits = params["w_out"] @ h + params["b_out"]  # [V]
        p = softmax(logits)
        loss -= np.log(p[y[t]])
        steps.append((h_prev, c_prev, *gates, c, h, p))
    return loss / len(x), steps, (h, c)


def backward(params, x, y, steps):
    """Return the gradients of the mean loss, from the last step to the first."""
    grads = {name: np.zeros_like(param) for name, param in params.items()}
    dh_next = np.zeros_like(params["w_h"][0])  # [H]; zero, because the loss ends with the window
    dc_next = np.zeros_like(dh_next)
    for t in reversed(range(len(x))):
        h_prev, c_prev, g, i, f, o, c, h, p = steps[t]
        dlogits = (p - (np.arange(len(p)) == y[t])) / len(x)  # [V]; p - one_hot(y), over T for the mean
        dh = dlogits @ params["w_out"] + dh_next  # [H]; h reaches this loss and the next step
        dc = dh * o * (1 - np.tanh(c) ** 2) + dc_next
        dz_g = dc * i * (1 - g**2)
        dz_i = dc * g * i * (1 - i)
        dz_f = dc * c_prev * f * (1 - f)
        dz_o = dh * np.tanh(c) * o * (1 - o)
        dz = np.concatenate([dz_g, dz_i, dz_f, dz_o])  # [4H]
        dh_next = dz @ params["w_h"]
        dc_next = dc * f
        grads["w_out"] += np.outer(dlogits, h)
        grads["b_out"] += dlogits
        grads["b"] += dz
        grads["w_h"] += np.outer(dz, h_prev)
        grads["w_x"][:, x[t]] += dz  # np.outer(dz, one_hot(x))
    return grads


def loss_and_grads(params, x, y, state):
    """Return the mean loss of a window [T], its gradients, and the state after it."""
    loss, steps, state = forward(params, x, y, state)
    return loss, backward(params, x, y, steps), state


def check_gradients(x, y, step=1e-5):
    """Compare the ten largest gradients of each parameter with (loss(w + step) - loss(w - step)) / (2 step)."""
    state = rng.normal(size=(2, H)) / 2  # as an earlier window would leave it
    _, grads, _ = loss_and_grads(params, x, y, state)
    for name, param in params.items():
        errors = []
        for place in np.argsort(abs(grads[name]), axis=None)[-10:]:
            losses = []
            for change in (step, -step):
                param.flat[place] += change
                losses.append(forward(params, x, y, state)[0])
                param.flat[place] -= change
            slope = (losses[0] - losses[1]) / (2 * step)
            errors.append(abs(slope - grads[name].flat[place]))
        print(f"gradient of {name:5}  largest error {max(errors):.0e}, largest value {abs(grads[name]).max():.0e}")


m = {name: np.zeros_like(param) for name, param in params.items()}  # running mean of the gradients
v = {name: np.zeros_like(param) for name, param in params.items()}  # running mean of their squares


def update(params, grads, n):
    """Apply update number n, from 1, by Adam."""
    for name in params:
        m[name] = 0.9 * m[name] + 0.1 * grads[name]
        v[name] = 0.999 * v[name] + 0.001 * grads[name] ** 2
        m_hat = m[name] / (1 - 0.9**n)  # the means start at zero; this corrects for it
        v_hat = v[name] / (1 - 0.999**n)
        params[name] -= RATE * m_hat / (np.sqrt(v_hat) + 1e-8)


def train(steps):
    """Train on the text, again and again; yield the loss of each window before its update."""
    n = 0
    while n < steps:
        state = zero_state()  # the text starts over
        for x, y in windows(ids):
            loss, grads, state = loss_and_grads(params, x, y, state)  # carries the state
            n += 1
            update(params, grads, n)
            yield loss
            if n == steps:
                return


def sample(length):
    """Write a text: draw each character from the prediction, and read it."""
    (h, c), x, written = zero_state(), ids[0], ""
    for _ in range(length):
        h, c, _ = cell(params, x, h, c)
        x = rng.choice(V, p=softmax(params["w_out"] @ h + params["b_out"]))
        written += characters[x]
    return written


if __name__ == "__main__":
    print(f"{len(ids):,} characters, {V} distinct: guessing costs ln V = {np.log(V):.3f} nats per character")
    share = np.bincount(ids) / len(ids)
    print(f"character frequencies cost {-(share * np.log(share)).sum():.3f}")
    check_gradients(*next(windows(ids)))
    losses = []
    for loss in train(STEPS):
        losses.append(loss)
        if len(losses) % 300 == 0 or len(losses) == 1:
            print(f"step {len(losses):5}  loss {np.mean(losses[-300:]):.3f}")
    print(sample(500))
