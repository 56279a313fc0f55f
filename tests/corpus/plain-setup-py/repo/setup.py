from setuptools import find_packages, setup

raise SystemExit("this must not run")

setup(
    name="churn",
    packages=find_packages(),
    python_requires=">=3.12",
    install_requires=["numpy>=1.26", "scikit-learn==1.5.2"],
    extras_require={"dev": ["pytest"]},
)
