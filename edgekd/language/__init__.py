"""Language distillation: a text -> teacher, student, its ONNX files, their bits per character and speed, a verdict.

Read in the order of the data: recipe, text, vocabulary, corpus; network, objective, targets, train; score, export,
speed; judge, report; `run` puts them together. Importing the package loads neither torch nor ONNX Runtime.
"""
