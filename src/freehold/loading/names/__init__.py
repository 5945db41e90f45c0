"""One table a family: the file's keys and tensor names in our words.

Room: loading. Each module gives `read_config`, `file_name` and `row_order`.
"""
