python run.py -cd experiments/surround -cn study "$@"
python run.py -cd experiments/depth -cn study "$@"
surround=runs/studies/surround
python experiments/necessity/measure.py $surround/*-kl_cc_nss-s[0-2] runs/studies/depth/none-s[0-2] \
  $surround/*-shuffled_fixations-s[0-2] $surround/*-other_task-s[0-2] --data "$DEEPSAL_DATA"
python experiments/necessity/figure.py
