from setuptools import setup

from churn.versions import requirements

setup(name="churn", install_requires=requirements())
