"""Tools of the documentation; ``python -m docs.tools`` runs them.

``api_reference``  the public names by topic: the data of the Python API pages
``api_pages``      its overview, and the page of each name
``architecture``   the picture of the rooms, from the import contracts
``cards``          lists that are shown as cards
``command_page``   the page of the command line, from its parsers
``backbone_pages`` a page for each family of backbones, from their records
``generated``      all pages that are generated and committed
``notebooks``      running the notebooks, and saving their outputs
``links``          names in code that become links
``site``           building and checking the site
"""
