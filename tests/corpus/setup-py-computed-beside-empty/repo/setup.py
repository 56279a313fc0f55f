from setuptools import setup

setup(name="churn", install_requires=open("needs.txt").read().splitlines())
