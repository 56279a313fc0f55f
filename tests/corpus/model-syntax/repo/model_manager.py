class ModelManager:
    def get_model(self)
        return self
