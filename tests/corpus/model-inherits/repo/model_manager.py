from models.base import Base


class ModelManager(Base):
    pass
