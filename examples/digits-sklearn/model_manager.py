import warnings
from typing import Any, Tuple

import numpy as np
from data_manager import DataManager
from flops_utils.ml_repo_templates import ModelManagerTemplate
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

CLASSES = np.arange(10)
FEATURES = 8 * 8


class ModelManager(ModelManagerTemplate):
    """Logistic regression on handwritten digits of 8 x 8 pixels."""

    def __init__(self):
        # A few steps a round, from where the last round ended.
        self.model = LogisticRegression(max_iter=10, warm_start=True)
        # scikit-learn makes the parameters when it first fits; the aggregator needs them before, and never fits.
        self.model.classes_ = CLASSES
        self.model.coef_ = np.zeros((len(CLASSES), FEATURES))
        self.model.intercept_ = np.zeros(len(CLASSES))

    def set_model_data(self) -> None:
        (self.x_train, self.x_test), (self.y_train, self.y_test) = DataManager().get_data()

    def get_model(self) -> Any:
        return self.model

    def get_model_parameters(self) -> Any:
        return [self.model.coef_, self.model.intercept_]

    def set_model_parameters(self, parameters) -> None:
        self.model.coef_, self.model.intercept_ = parameters

    def fit_model(self) -> int:
        with warnings.catch_warnings():
            # That it has not converged after a few steps is meant.
            warnings.simplefilter("ignore")
            self.model.fit(self.x_train, self.y_train)
        return len(self.x_train)

    def evaluate_model(self) -> Tuple[Any, Any, int]:
        loss = log_loss(self.y_test, self.model.predict_proba(self.x_test), labels=CLASSES)
        accuracy = self.model.score(self.x_test, self.y_test)
        return loss, accuracy, len(self.x_test)
