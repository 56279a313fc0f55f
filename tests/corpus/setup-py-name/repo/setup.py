import setuptools

REQUIRES = [
    "numpy==1.26.4",
    "scikit-learn",
]

if __name__ == "__main__":
    setuptools.setup(name="churn", install_requires=REQUIRES)
