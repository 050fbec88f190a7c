"""Llamas, adapters and importance matrices in llama.cpp's files."""
