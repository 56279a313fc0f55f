from setuptools import setup

setup(name="churn", install_requires=open("requirements.txt").read().splitlines())
