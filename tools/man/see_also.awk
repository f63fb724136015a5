BEGIN { page_ends(pages) }
