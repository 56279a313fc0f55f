"""`flops demo`: a whole project, from a repository to a prediction."""
