"""What flops-mesh asks for, around the network. No template is needed: the methods are what counts."""

import numpy as np
from data_manager import DataManager
from network import Network

CLASSES = 10
FEATURES = 8 * 8


class ModelManager:
    def __init__(self):
        self.network = Network(features=FEATURES, hidden=32, classes=CLASSES)

    def set_model_data(self):
        self.training, self.evaluation = DataManager().get_data()

    def get_model(self):
        return self.network

    def get_model_parameters(self):
        return self.network.parameters

    def set_model_parameters(self, parameters):
        self.network.parameters = list(parameters)

    def fit_model(self):
        images, labels = self.training
        self.network.fit(images, labels, epochs=3)
        return len(images)

    def evaluate_model(self):
        images, labels = self.evaluation
        probabilities = self.network.probabilities(images)
        loss = -np.log(probabilities[np.arange(len(labels)), labels] + 1e-9).mean()
        accuracy = (probabilities.argmax(axis=1) == labels).mean()
        return loss, accuracy, len(labels)
