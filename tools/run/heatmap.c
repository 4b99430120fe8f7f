/* SPDX-License-Identifier: Apache-2.0 */
/* --heatmap: the weights of a run, or the scores that were asked for in their place, as a figure with a panel a head.
 */
#include "shared/heatmap.h"
#include "run/run.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Of all heads and batches, since the run computes them all, in bytes. */
#define MOST_WEIGHTS (INT64_C(1) << 30)
#define MOST_PANELS  1024

/* The figure of batch 0; its panels are malloc'ed. Values are set where there are any already. */
static enum exit_code describe(const struct request *request, const struct arrays *arrays, char title[256],
                               struct heatmap *heatmap)
{
    clattn_attention_desc desc = arrays->desc;
    const float *values = arrays->array[SCORES].data;
    bool one = requested(request, RUN_HEATMAP_HEAD);
    static const char *const stages[] = {"", "raw scores", "scores after softcap", "masked scores", "weights"};
    *heatmap = (struct heatmap){
        .title = title, .row_axis = "query", .column_axis = "key", .count = one ? 1 : (int)desc.q_heads};
    struct heatmap_panel *panels = calloc((size_t)heatmap->count, sizeof *panels);
    static char captions[MOST_PANELS][24];
    if (panels == NULL)
        return fail(EXIT_FAILED, "no memory for %d panels of a picture", heatmap->count);
    heatmap->panels = panels;
    for (int i = 0; i < heatmap->count; i++) {
        int64_t head = one ? request->heatmap_head : i;
        snprintf(captions[i], sizeof captions[i], "head %" PRId64, head);
        panels[i] = (struct heatmap_panel){.caption = captions[i],
                                           .values = values == NULL ? NULL : values + head * desc.q_len * desc.kv_len,
                                           .rows = desc.q_len,
                                           .columns = desc.kv_len};
    }
    int length = snprintf(title, 256, "%s%s of ", stages[desc.scores_stage], desc.batch > 1 ? ", batch 0," : "");
    desc.scores_stage = CLATTN_SCORES_NONE;
    clattn_attention_desc_format(&desc, title + length, 256 - (size_t)length);
    return EXIT_DONE;
}

enum exit_code run_heatmap_check(const struct request *request, const struct arrays *arrays)
{
    const clattn_attention_desc *desc = &arrays->desc;
    const enum exit_code wrong = request->made_up ? EXIT_USAGE : EXIT_BAD_FILE;
    if (desc->q_cu_lengths != CLATTN_LENGTHS_NONE)
        return fail(EXIT_USAGE,
                    "--heatmap: the queries are packed: expected sequences of one length, which a panel shows");
    if (desc->batch == 0 || desc->q_heads == 0 || desc->q_len == 0 || desc->kv_len == 0)
        return fail(wrong, "--heatmap: there are no weights to draw: expected at least one batch, head, query and key");
    if (requested(request, RUN_HEATMAP_HEAD) && request->heatmap_head >= desc->q_heads)
        return fail(wrong, "--heatmap-head is %" PRId64 ": expected 0 to %" PRId64 ", a head of query",
                    request->heatmap_head, desc->q_heads - 1);
    double bytes = 4.0 * (double)desc->batch * (double)desc->q_heads * (double)desc->q_len * (double)desc->kv_len;
    if (bytes > (double)MOST_WEIGHTS)
        return fail(EXIT_UNSUPPORTED,
                    "--heatmap: the weights of all heads and batches have %.0f bytes: expected at most %" PRId64, bytes,
                    MOST_WEIGHTS);
    if (!requested(request, RUN_HEATMAP_HEAD) && desc->q_heads > MOST_PANELS)
        return fail(EXIT_UNSUPPORTED,
                    "--heatmap: %" PRId64 " heads: expected at most %d in a picture; --heatmap-head draws one",
                    desc->q_heads, MOST_PANELS);
    char title[256];
    struct heatmap heatmap;
    int64_t width, height;
    TRY(describe(request, arrays, title, &heatmap));
    heatmap_size(&heatmap, &width, &height);
    free((void *)heatmap.panels);
    if (width <= PICTURE_MAX_PIXELS / height)
        return EXIT_DONE;
    return fail(EXIT_UNSUPPORTED,
                "--heatmap: the picture would have %" PRId64 " x %" PRId64 " pixels: expected at most %" PRId64
                " in all%s",
                width, height, PICTURE_MAX_PIXELS,
                heatmap.count > 1 ? "; --heatmap-head draws one head alone" : ", one or more for each weight");
}

enum exit_code run_heatmap_write(const struct request *request, const struct arrays *arrays, int descriptor)
{
    char title[256];
    struct heatmap heatmap;
    struct picture picture = {0};
    TRY(describe(request, arrays, title, &heatmap));
    enum exit_code code = heatmap_draw(&heatmap, &picture);
    free((void *)heatmap.panels);
    if (code == EXIT_DONE)
        code = picture_write(&picture, request->values.text[RUN_HEATMAP], descriptor);
    picture_free(&picture);
    return code;
}

void run_heatmap_summary(const struct request *request, const struct arrays *arrays)
{
    char heads[48] = "all heads";
    if (requested(request, RUN_HEATMAP_HEAD))
        snprintf(heads, sizeof heads, "head %" PRId64, request->heatmap_head);
    note("heatmap   %s: %s%s", request->values.text[RUN_HEATMAP], heads,
         arrays->desc.batch > 1 ? " of batch 0; the other batches are not drawn" : "");
}
