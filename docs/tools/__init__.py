"""Tools of the documentation; ``python -m docs.tools`` runs them.

``api_reference``  the public names by topic: the data of the Python API pages
``api_pages``      its overview, and the page of each name
``links``          names in code that become links
``site``           building and checking the site
"""
