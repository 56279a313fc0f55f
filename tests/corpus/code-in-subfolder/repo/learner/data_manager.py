class DataManager:
    def get_data(self):
        return [], []
