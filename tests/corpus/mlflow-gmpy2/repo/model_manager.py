import torch
import torchvision
"""The smallest model that keeps to the contract; copied into every repository of the corpus that has none of its own."""

import numpy as np


class ModelManager:
    def __init__(self):
        self.weights = np.zeros(3)

    def set_model_data(self):
        self.rows = 8

    def get_model(self):
        return self

    def get_model_parameters(self):
        return [self.weights]

    def set_model_parameters(self, parameters):
        (self.weights,) = parameters

    def fit_model(self):
        return self.rows

    def evaluate_model(self):
        return 0.5, 0.5, self.rows
