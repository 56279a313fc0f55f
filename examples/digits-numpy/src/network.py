"""A neural network with one hidden layer, trained with mini-batches and momentum."""

import numpy as np


class Network:
    """Takes rows of features, gives one of the classes for each."""

    def __init__(self, features, hidden, classes, seed=0):
        random = np.random.default_rng(seed)
        # scikit-learn's name for the number of columns; whoever saves the model finds its input by it.
        self.n_features_in_ = features
        self.parameters = [
            random.normal(0, np.sqrt(2 / features), (features, hidden)).astype(np.float32),
            np.zeros(hidden, dtype=np.float32),
            random.normal(0, np.sqrt(2 / hidden), (hidden, classes)).astype(np.float32),
            np.zeros(classes, dtype=np.float32),
        ]

    def predict(self, rows):
        """The most likely class of each row."""
        return self.probabilities(rows).argmax(axis=1)

    def probabilities(self, rows):
        """How likely each class is, by row."""
        return self._forward(np.asarray(rows, dtype=np.float32))[1]

    def _forward(self, rows):
        into, into_bias, out, out_bias = self.parameters
        hidden = np.maximum(rows @ into + into_bias, 0)
        scores = hidden @ out + out_bias
        exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, exponents / exponents.sum(axis=1, keepdims=True)

    def fit(self, rows, labels, epochs, batch=32, rate=0.05, momentum=0.9, seed=0):
        """Stochastic gradient descent on the cross-entropy."""
        random = np.random.default_rng(seed)
        speeds = [np.zeros_like(parameter) for parameter in self.parameters]
        for _ in range(epochs):
            order = random.permutation(len(rows))
            for start in range(0, len(rows), batch):
                picked = order[start : start + batch]
                gradients = self._gradients(rows[picked], labels[picked])
                for index, gradient in enumerate(gradients):
                    speeds[index] = momentum * speeds[index] - rate * gradient
                    self.parameters[index] = self.parameters[index] + speeds[index]

    def _gradients(self, rows, labels):
        _, _, out, _ = self.parameters
        hidden, probabilities = self._forward(rows)
        error = probabilities
        error[np.arange(len(rows)), labels] -= 1
        error /= len(rows)
        behind = (error @ out.T) * (hidden > 0)
        return [rows.T @ behind, behind.sum(axis=0), hidden.T @ error, error.sum(axis=0)]
