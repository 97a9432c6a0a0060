/** Events and activities go on after the X-Message-Id with what became of the message inside SendGrid. */
export const submissionIdOf = (activityId: string): string => activityId.replace(/\.(?:filter|recvd)[\s\S]*$/, '');
