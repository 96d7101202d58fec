"""Import of Marian models in the format of the Hugging Face hub, such as OPUS-MT."""
