"""What the embeddings of a trained model learned (Press & Wolf 2017, sections 3 to 5).

Reads checkpoints of this package and of stock fairseq, and files of word vectors; never trains.
``tiednmt analyse`` puts all of it into one folder. Needs the extra ``analysis``; nothing
of it is imported when the plugin is loaded for training.
"""
