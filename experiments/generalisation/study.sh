python run.py -cd experiments/depth -cn study "$@"
python run.py -cd experiments/generalisation -cn study "$@"
python run.py -cd experiments/generalisation -cn scenes "$@"
python run.py -cd experiments/generalisation -cn scenes_to_osie "$@"
python experiments/generalisation/figure.py runs/studies/generalisation
